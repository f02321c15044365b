"""The files of a report: training_report_<stamp>.json and .html, training_charts_<stamp>.png and
tuning_dashboard_<stamp>.png, and contact_sheet.png where the outputs are pictures, all in results/<study>/reports.

The stamp is local time as YYYYMMDDHHMMSS. The JSON is written first: should drawing fail, the numbers are there.
"""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tuner import tasks
from tuner.report.charts import study_chart
from tuner.report.contact_sheet import write_contact_sheet
from tuner.report.page import in_full, render_page
from tuner.report.schema import TrainingReport
from tuner.report.training_charts import draw_training_charts
from tuner.report.trials import trials_table
from tuner.store.files import write_json, write_text
from tuner.store.outputs import read_outputs
from tuner.store.records import StudyRecord


@dataclass(frozen=True)
class ReportFiles:
    """Where the files of one report lie. `contact_sheet` is None where the outputs are no pictures."""

    json: Path
    html: Path
    charts: Path
    dashboard: Path
    contact_sheet: Path | None = None

    @property
    def named(self) -> dict[str, Path]:
        """The files that there are, by what they are."""
        files = {"page": self.html, "numbers": self.json, "charts": self.charts, "dashboard": self.dashboard}
        return files if self.contact_sheet is None else {**files, "pictures": self.contact_sheet}


def write_report(folder: Path, record: StudyRecord, report: TrainingReport) -> ReportFiles:
    """Write the report of the study in `folder` to folder/reports. Raises StoreError when the disk refuses."""
    stamp = f"{datetime.fromisoformat(report.analysis_time):%Y%m%d%H%M%S}"
    place = folder / "reports"
    files = ReportFiles(
        json=place / f"training_report_{stamp}.json",
        html=place / f"training_report_{stamp}.html",
        charts=place / f"training_charts_{stamp}.png",
        dashboard=place / f"tuning_dashboard_{stamp}.png",
    )
    write_json(files.json, report.model_dump(mode="json"))
    page = page_of(folder, record, report)
    write_text(files.html, render_page(page, record))
    draw_training_charts(record, page, files.charts)
    study_chart(record, files.dashboard)
    sheet = place / "contact_sheet.png"
    # without items in the report, the outputs on disk are missing or cannot be read
    return replace(files, contact_sheet=sheet) if page["items"] and write_contact_sheet(folder, sheet) else files


def page_of(folder: Path, record: StudyRecord, report: TrainingReport) -> dict[str, Any]:
    """What the page and the charts show: the report, with every trial, and the outputs' pictures as data addresses."""
    page = report.model_dump(mode="json")
    page |= page.pop("study") | {"study": record.name, "title": tasks.spec(record.task).title}
    page["trials"] = [asdict(row) for row in trials_table(record, best_first=True)]
    outputs = None
    if page["items"]:  # so they could be read a moment ago
        outputs = read_outputs(folder, [item["name"] for item in in_full(page["items"])])
    pictures = {} if outputs is None else {item.name: item.pictures for item in outputs.items}
    for item in page["items"]:
        item["pictures"] = {
            role: f"data:image/png;base64,{base64.b64encode(data).decode()}"
            for role, data in pictures.get(item["name"], {}).items()
        }
    return page
