"""The report as one HTML file that opens offline: text, tables, pictures and interactive figures, light and dark.

plotly.js, the page's own script, its styles and every picture stand inside the file. Its content security policy lets
run only the two scripts by their hashes and load nothing from anywhere, so that text from data can do no harm even if
it were not escaped, which it is. Knows nothing of how the numbers were found.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.report.contact_sheet import ROLES
from tuner.report.figures import themes
from tuner.report.figures_charts import COMPONENTS, charts, grade_counts, label_counts, score_breakdown
from tuner.report.figures_search import search_figures
from tuner.report.figures_work import timeline, work
from tuner.report.standing import best_trial
from tuner.report.tensorboard import is_measure
from tuner.report.trials import format_seconds, searched, state_word, value_text
from tuner.store.records import StudyRecord

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
CARDS = 12
"""Outputs shown at first, half of them the worst, half the best."""
LISTED = 200
"""Further outputs in a folded list; what goes beyond is in the report's JSON alone."""
TILES = 600
SMALL = 150
"""Pixels of a picture's width on the page; those of a narrower one are shown as squares and not as a blur."""

SECTIONS = (
    ("summary", "Summary"),
    ("data", "Data"),
    ("adapter", "Adapter"),
    ("search", "Search"),
    ("outputs", "Outputs compared"),
    ("metrics", "Metrics"),
    ("score", "Tuning score"),
    ("next", "Next round"),
    ("gallery", "Gallery"),
    ("charts", "Charts"),
    ("performance", "Performance"),
    ("reproduction", "Reproduction"),
)

# Parts that the page reads, as they are where a report has nothing.
_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("study", "task", "title", "base_model", "state", "command", "analysis_time"), ""),
    **dict.fromkeys(("created", "finished", "adapter", "start_point"), None),
    **dict.fromkeys(("summary", "missing", "measures", "items", "alerts", "advice", "targets", "rounds", "reruns"), ()),
    **dict.fromkeys(("trials", "engines", "before_after"), ()),
    **{name: {} for name in ("data", "lora_tuning", "benchmark_analysis", "convergence", "performance", "versions")},
}


def render_page(page: Mapping[str, Any], record: StudyRecord) -> str:
    """The page of a report: `page` as `training_report.page_of` gives it, with any part empty or None. The same page
    and record always give the same text."""
    from jinja2.utils import htmlsafe_json_dumps
    from markupsafe import Markup

    filled = {**_EMPTY, **{name: value for name, value in page.items() if value is not None}}
    shown = {
        "search": search_figures(record, filled),
        "score": [score_breakdown(filled)],
        "charts": charts(record, filled),
        "performance": [work(filled), timeline(record)],
    }
    drawn = [each for group in shown.values() for each in group if each.figure is not None]
    figures = {"themes": themes(), "figures": {each.key: each.to_json() for each in drawn}, "study": filled["study"]}
    plotly, own = _plotly(), (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return _template().render(
        page=filled,
        sections=SECTIONS,
        figures=shown,
        figures_json=htmlsafe_json_dumps(figures),
        # Scripts and styles are ours and are not escaped; neither holds a closing tag.
        plotly=Markup(plotly),
        script=Markup(own),
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        hashes=f"'{_hash(plotly)}' '{_hash(own)}'",
        components=_components(filled),
        splits=label_counts(filled),
        grades=grade_counts(filled),
        outputs=_outputs(filled["items"]),
        roles=ROLES,
        titles={measure["name"]: measure["title"] for measure in filled["measures"]},
        params=_params(record, filled["adapter"]),
        metrics=_metrics(record, filled["adapter"]),
        measures=_measures(filled),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

    class Lenient(Environment):
        """What a report lacks is None, as is what is null in it."""

        def getattr(self, obj: Any, attribute: str) -> Any:
            return _none(super().getattr(obj, attribute))

        def getitem(self, obj: Any, argument: Any) -> Any:
            return _none(super().getitem(obj, argument))

    def _none(found: Any) -> Any:
        return None if isinstance(found, Undefined) else found

    environment = Lenient(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,  # a name that the template misspells is our mistake
        finalize=lambda value: "" if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "signed": lambda value: number(value, sign="+"),
        "percent": percent,
        "moment": moment,
        "seconds": lambda value: None if value is None else format_seconds(value),
        "value_text": value_text,
        "coded": coded,
        "small": is_small,
        "spaced": lambda name: str(name or "").replace("_", " "),
        "state_word": state_word,
    }
    environment.filters |= filters
    return environment.get_template("report.html.j2")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text.replace("</script", "<\\/script")


def _hash(script: str) -> str:
    """What the content security policy calls a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def number(value: float | None, sign: str = "") -> str | None:
    """A number with no more digits than help; None where there is none, which the page puts into words."""
    if value is None or not math.isfinite(value):
        return None
    if isinstance(value, int):
        return format(value, f"{sign},")
    size = abs(value)
    form = ".3g" if 0 < size < 0.01 else ".3f" if size < 10 else ",.1f" if size < 1000 else ",.0f"
    return format(value, sign + form)


def percent(value: float) -> str:
    """A change in percent, with its sign: one digit behind the point, more only where nothing else would be left."""
    return f"{value:+,.1f} %" if value == 0 or abs(value) >= 0.05 else f"{value:+.1g} %"


def coded(text: str) -> Markup:
    """A sentence, escaped, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def is_small(picture: str) -> bool:
    """Whether a PNG, as a data address, is enlarged on the page: its width stands in its bytes 16 to 19."""
    head = base64.b64decode(picture.partition(",")[2][:32])
    return head[12:16] == b"IHDR" and int.from_bytes(head[16:20], "big") < SMALL


def moment(seconds: float | None) -> str | None:
    """A time in seconds since the epoch as a person writes it, in this machine's zone."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M %Z}"


def _components(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each component of the score with what it is computed from."""
    tuning: Mapping[str, Any] = page["lora_tuning"]
    found = []
    for name, (place, title) in COMPONENTS.items():
        part: Mapping[str, Any] = tuning.get(place) or {}
        sources = [(key, value) for key, value in part.items() if key not in ("grade", "score", "graded_score")]
        source, value = sources[0] if sources else ("", None)
        found.append(
            {
                "title": title,
                "source": source,
                "value": value,
                "grade": part.get("grade") or "none",
                "score": part.get("score"),
                "graded": part.get("graded_score"),
                "weight": (tuning.get("weights") or {}).get(name),
            }
        )
    return found


def in_full(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those outputs that the page shows with their pictures: the worst, then the best."""
    worst, best, _ = _ranked(items)
    return [*worst, *best]


def _ranked(items: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], ...]:
    """The worst, the best and the other outputs. Those that could not be measured count as worst."""
    ranked = sorted(items, key=lambda item: -math.inf if item.get("total_loss") is None else -item["total_loss"])
    half = CARDS // 2
    worst = ranked[: half if len(ranked) > CARDS else len(ranked) // 2]
    best = ranked[len(worst) :][::-1][: half if len(ranked) > CARDS else None]
    return worst, best, ranked[len(worst) : len(ranked) - len(best)]


def _outputs(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The worst and the best outputs, the rest, and how many of it are not listed."""
    worst, best, rest = _ranked(items)
    return {
        "worst": worst,
        "best": best,
        "rest": rest[:LISTED],
        "unlisted": max(0, len(rest) - LISTED),
        "pictures": any(item.get("pictures") for item in items),
        "paired": any(item.get("base_answer") or item.get("base_similarities") for item in items),
        "tiles": items[:TILES],
        "untiled": max(0, len(items) - TILES),
        "total": len(items),
    }


def _params(record: StudyRecord, adapter: Mapping[str, Any] | None) -> list[tuple[str, str, bool]]:
    """The adapter's hyperparameters, those that were searched first."""
    chosen: Mapping[str, Any] = (adapter or {}).get("params") or {}
    varied = searched(record)
    ordered = sorted(chosen, key=lambda name: name not in varied)
    return [(name.replace("_", " "), value_text(chosen[name]), name in varied) for name in ordered]


def _metrics(record: StudyRecord, adapter: Mapping[str, Any] | None) -> dict[str, Any]:
    """The adapter's metrics on validation and test rows, side by side; before there is a winner, those of the best
    trial so far. Speeds and progress are shown elsewhere."""
    best = best_trial(record)
    if adapter is not None:
        title, validation, test = "the winner", adapter.get("validation") or {}, adapter.get("test") or {}
    elif best is not None and best.best is not None:
        title, validation, test = f"trial {best.number}, the best so far", best.reports[best.best], {}
    else:
        return {"title": "", "rows": []}
    rows: dict[str, list[float | None]] = {}
    for place, split in enumerate((validation, test)):
        for name, value in split.items():
            if name == "loss" or is_measure(name):
                words = _plain(name, ("validation_", "test_")[place])
                rows.setdefault(words, [None, None])[place] = value
    ordered = sorted(rows.items(), key=lambda row: not row[0].startswith("score"))
    return {"title": title, "rows": [(name, *values) for name, values in ordered]}


def _plain(name: str, prefix: str) -> str:
    if name == "loss":
        return "training loss"
    return (
        ("score: " * name.startswith("score_") + name.removeprefix(prefix).removeprefix("score_"))
        .replace("_", " ")
        .replace(" mb", " MB")
    )


def _measures(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measures' averages beside their references, the total loss last."""
    benchmark: Mapping[str, Any] = page["benchmark_analysis"]
    against: Mapping[str, Any] = benchmark.get("benchmark_comparison") or {}
    averages: Mapping[str, Any] = benchmark.get("average_metrics") or {}
    rows = [
        {**measure, "difference": against.get(f"vs_reference_{measure['name']}"), "loss": False}
        for measure in page["measures"]
    ]
    if not rows:
        return []
    loss, difference = averages.get("avg_total_loss"), against.get("vs_reference_total_loss")
    total = {"title": "total loss", "average": loss, "difference": difference, "loss": True}
    total |= {"grade": (benchmark.get("grades") or {}).get("total_loss") or "none", "weight": None}
    total |= {"reference": None if loss is None or difference is None else loss - difference}
    return [*rows, total]
