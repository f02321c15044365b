"""The report's page: whole in one file, harmless whatever the data say, drawn by a real browser without an error."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.report.pages import EVIL, images, page_of, paired, rounds, sized, texts
from tests.report.pictures import pictures_outputs, pictures_study, with_pictures_task  # noqa: F401
from tests.store.factory import study
from tuner.report import training_report
from tuner.report.analysis import analyse
from tuner.report.page import CARDS, LISTED, SECTIONS, coded, number, percent, render_page
from tuner.score_fashion import FASHION
from tuner.store.files import write_study
from tuner.store.outputs import write_outputs
from tuner.store.records import COMPLETE, FAILED, RUNNING, StudyRecord, TrialRecord

SILENT = ("script", "style")
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


class Read(HTMLParser):
    """What a page holds: `words` that people read, `tags` with their attributes, the text of its `scripts`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside not in SILENT:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        return [held[name] for _, held in self.tags if name in held]


def shown(record: StudyRecord, **page: Any) -> Read:
    return Read(render_page(page_of(record, **page), record))


BARE = replace(
    study(trials=0),
    config={},
    command="",
    data={},
    engines=(),
    versions={},
    trials=(TrialRecord("a", 0, {}, 0, FAILED), TrialRecord("b", 1, {"x": None}, 0, COMPLETE)),
)
STUDIES = {
    "whole": sized(study()),
    "empty": study(trials=0),
    "one trial": study(trials=1),
    "running": replace(study(), winner=None, reruns=(), finished=None, state=RUNNING),
    "bare": BARE,
}


@pytest.fixture(scope="module")
def whole() -> Read:
    record = STUDIES["whole"]
    return Read(render_page(page_of(record, texts(40), rounds=rounds(3, FASHION)), record))


def test_sections_stand_in_their_order_and_the_contents_lead_to_them(whole: Read) -> None:
    keys = [key for key, _ in SECTIONS]
    assert [held["id"] for tag, held in whole.tags if tag == "section"] == keys
    assert [held["href"] for tag, held in whole.tags if tag == "a"][: len(keys)] == [f"#{key}" for key in keys]


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.parametrize("page", ["page", "nothing", "nulls"])
def test_what_is_missing_is_said_in_words(kind: str, page: str) -> None:
    record = STUDIES[kind]
    full = page_of(record)
    given = {"page": full, "nothing": {}, "nulls": dict.fromkeys(full)}[page]
    read = Read(render_page(given, record))
    assert not re.search(r"\b(None|nan|NaN|null|undefined|inf)\b", read.text), read.text
    assert [held["id"] for tag, held in read.tags if tag == "section"] == [key for key, _ in SECTIONS]


def test_nulls_deep_inside_are_said_in_words_too() -> None:
    def hollow(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: hollow(held) for name, held in value.items()}
        if isinstance(value, list):
            return [hollow(held) for held in value]
        return None if isinstance(value, float) else value

    record = STUDIES["whole"]
    page = page_of(record, paired(texts(5)), FASHION, rounds=rounds(2, FASHION))
    # shares are there or they are not: there is no share without a number
    text = Read(render_page(hollow(page) | {"importance": page["importance"]}, record)).text
    assert not re.search(r"\b(None|nan|NaN|null|undefined|inf)\b", text), text
    assert "not measured" in text


def test_the_page_says_what_the_report_says(whole: Read) -> None:
    for words in (
        "This is a study.",
        "1 of 16 trials failed.",
        "tuner tune sentiment --space minilm --trials 16",
        "2 rows stand in both train and validation",
        "avx512_bf16 found",
        "narrow it",
        "The loss is 0.5 and should be 0.4.",
        "query + key + value",
        "the loss is not finite",
    ):
        assert words in whole.text


@pytest.mark.usefixtures("with_pictures_task")
def test_the_page_of_an_analysed_study(tmp_path: Path) -> None:
    series = [pictures_study("one", 1000.0, 0.4), pictures_study("two", 2000.0, 0.6)]
    for record in series:
        write_study(tmp_path / record.name, record)
        write_outputs(tmp_path / record.name, pictures_outputs(4))
    report = analyse(tmp_path / "two", series[-1], now=3000.0)
    read = Read(render_page(training_report.page_of(tmp_path / "two", series[-1], report), series[-1]))
    assert not re.search(r"\b(None|null|undefined|inf)\b", read.text), read.text
    assert report.summary[0] in read.text
    assert all(each.message in read.text.replace("`", "") for each in report.alerts if "`" not in each.message)
    assert all(each.evidence_reason in read.text for each in report.advice)
    assert all(sentence in read.text for sentence in (*report.convergence.reasons, *report.convergence.missing))
    assert len(read.attributes("src")) == 3 * 4
    assert {"data_bars", "grades", "similarities", "breakdown"} <= set(read.attributes("data-figure"))


def test_commands_in_sentences_are_code() -> None:
    assert str(coded("do `tuner <x>` now")) == "do <code>tuner &lt;x&gt;</code> now"


def test_the_same_page_is_the_same_text() -> None:
    record = STUDIES["whole"]
    assert render_page(page_of(record), record) == render_page(page_of(record), record)


def test_texts_from_data_are_harmless() -> None:
    labels = {"total_samples": 4, "label_counts": {EVIL: 4}}
    winner = study().winner
    assert winner is not None
    record = replace(
        study(name=EVIL, base_model=EVIL, command=EVIL, versions={EVIL: EVIL}),
        trials=tuple(replace(trial, message=EVIL, params={**trial.params, "x": EVIL}) for trial in study().trials),
        winner=replace(winner, params={**winner.params, EVIL: EVIL}),
    )
    page = page_of(
        record, paired(texts(3)), summary=[EVIL], missing=[EVIL], data={"splits": {EVIL: labels}, "warnings": [EVIL]}
    )
    page["alerts"] = [{"name": EVIL, "level": "warning", "message": EVIL}]
    page["measures"][0]["title"] = page["before_after"][0]["title"] = EVIL
    read = Read(render_page(page, record))
    assert len(read.scripts) == 3  # the figures, plotly.js and the page's own
    assert [tag for tag, _ in read.tags if tag == "img"] == []
    assert read.attributes("onerror") == []
    assert "</script" not in read.scripts[0]
    json.loads(read.scripts[0])
    assert EVIL in " ".join(read.words)


def test_a_picture_that_is_none_is_not_loaded() -> None:
    items = images(1)
    items[0]["pictures"] = {"expected": "https://example.org/a.png", "base": "javascript:alert(1)"}
    read = shown(study(), items=items, benchmark=FASHION)
    assert read.attributes("src") == []


def test_nothing_is_loaded_from_elsewhere_and_only_our_scripts_run(whole: Read) -> None:
    assert [link for link in whole.attributes("href") if not link.startswith("#")] == []
    assert whole.attributes("src") == []
    (policy,) = [held["content"] for _, held in whole.tags if held.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    _, *scripts = whole.scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_the_worst_and_the_best_texts_come_first() -> None:
    record = study()
    read = shown(record, items=texts(LISTED + CARDS + 5))
    names = [word for word in read.words if re.fullmatch(r"text_\d+", word)]
    last = LISTED + CARDS + 4
    assert names[:CARDS] == [*(f"text_{place}" for place in range(6)), *(f"text_{last - place}" for place in range(6))]
    assert len(names) == LISTED + CARDS
    assert "5 outputs between these are left out here" in read.text


def rows(read: str, key: str) -> list[str]:
    """The text of each row of a table in a page, by the table's attribute."""
    (table,) = re.findall(rf"<table {key}>.*?</table>", read, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]


def test_before_and_after_is_told_by_words_and_not_by_colour_alone() -> None:
    record = study()
    text = render_page(page_of(record, paired(texts(4))), record)
    assert rows(text, 'id="before-after"') == [
        "Metric Base alone Adapter Change",
        "probability of the right label 0.225 0.375 +66.7 % ✓ better",
        "right answers 0.300 0.500 +66.7 % ✓ better",
        "embedding kept (cosine to the base) 0.540 0.900 +66.7 % ✓ better",
        "total loss (lower is better) 0.697 0.495 -29.0 % ✓ better",
        "answer loss (lower is better) 0.500 0.250 -50.0 % ✓ better",
        "answer words 8.000 9.000 +12.5 %",
        "perplexity (lower is better) 3.000 4.000 +33.3 % ✗ worse",
        "x 0.000 0.000 from 0 the same",
    ]


def test_the_base_alone_stands_beside_the_adapter_in_every_card() -> None:
    read = shown(study(), items=paired(texts(3)))
    sides = [held for _, held in read.tags if held.get("class") == "side"]
    assert len(sides) == 2 * 3
    assert read.text.count("I cannot tell. Ask me something else.") == 2
    card = read.text.partition("text_2")[2].partition("text_")[0]
    assert "base alone I cannot tell. Ask me something else. adapter positive" in card
    assert "right answers 0.600 1.000" in card
    assert "total loss 0.532 0.220" in card
    pictures = shown(study(), items=paired(images(2)), benchmark=FASHION)
    assert "structure (SSIM) 0.270 0.450" in pictures.text.partition("Gallery The worst")[2]


def test_a_base_that_was_not_measured_is_said_to_be_missing() -> None:
    read = shown(study(), items=texts(3))
    assert "The base alone was not measured on these outputs" in read.text
    assert not [held for _, held in read.tags if held.get("class") == "side"]
    assert "before-after" not in read.attributes("id")
    bare = [{**item, "base_answer": "yes"} for item in texts(3)]
    assert shown(study(), items=bare).text.count("base alone yes adapter") == 3


def test_a_few_texts_are_all_shown_once() -> None:
    names = [word for word in shown(study(), items=texts(3)).words if re.fullmatch(r"text_\d+", word)]
    assert sorted(names) == ["text_0", "text_1", "text_2"]


def test_pictures_stand_side_by_side_in_the_gallery() -> None:
    read = shown(study(), items=images(20), benchmark=FASHION)
    pictures = read.attributes("src")
    assert len(pictures) == 3 * CARDS
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    assert "The pictures of 8 more outputs lie in the study's folder" in read.text
    assert read.text.count("image_19.png") == 2  # in the table and in the gallery
    card = (
        read.text.partition(
            "image_0.png",
        )[2]
        .partition("image_0.png")[2]
        .partition("image_1.png")[0]
    )
    assert "reference base tuned a red dress total loss" in card
    assert "structure (SSIM) 0.000" in card


def test_pictures_have_their_caption_in_words() -> None:
    items = [{**item, "expected": "dress", "answer": "dress", "base_answer": "hat"} for item in paired(images(1))]
    read = shown(study(), items=items, benchmark=FASHION)
    assert read.attributes("alt") == [f"{title}: a red dress" for title in ("reference", "base", "tuned")]
    assert "reference seen as dress base seen as hat tuned seen as dress" in read.text
    right = [held for tag, held in read.tags if tag == "span" and held.get("class") == "right"]
    assert len(right) == 1
    assert "measure base tuned" in read.text


def test_small_pictures_are_enlarged_pixel_by_pixel() -> None:
    items = images(1)
    wide = io.BytesIO()
    Image.new("RGB", (512, 512)).save(wide, "png")
    items[0]["pictures"]["base"] = f"data:image/png;base64,{base64.b64encode(wide.getvalue()).decode()}"
    read = shown(study(), items=items, benchmark=FASHION)
    looks = [held.get("class") for tag, held in read.tags if tag == "img"]
    assert looks == ["small", None, "small"]


def test_figures_are_in_the_page_as_plain_json(whole: Read) -> None:
    held = json.loads(whole.scripts[0])
    places = whole.attributes("data-figure")
    assert sorted(held["figures"]) == sorted(places)
    assert len(places) == 16
    assert set(held["themes"]) == {"light", "dark"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), (float("nan"), None), (0.0, "0.000"), (0.00123456, "0.00123"), (0.8631, "0.863"), (12.345, "12.3"),
     (12345.6, "12,346"), (1234, "1,234"), (-0.25, "-0.250")],
)  # fmt: skip
def test_numbers_have_no_more_digits_than_help(value: float | None, text: str | None) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "+0.0 %"), (66.666, "+66.7 %"), (-1234.5, "-1,234.5 %"), (0.0123, "+0.01 %")]
)
def test_a_change_has_its_sign(value: float, text: str) -> None:
    assert percent(value) == text


def browse(page: Path, dark: bool, folder: Path) -> tuple[Read, list[str]]:
    """The page as Chromium has drawn it, and what it had to say about it."""
    assert BROWSER
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
            "--disable-component-update", "--no-first-run", "--disable-quic", "--enable-logging=stderr",
            f"--user-data-dir={folder}", "--virtual-time-budget=10000", "--window-size=1280,6000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return Read(done.stdout), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def acting(text: str, script: str) -> str:
    """The page with one more script that may run, once all figures are drawn."""
    code = (
        "const wait = setInterval(() => { if (document.documentElement.dataset.figures === 'drawn') {"
        f"clearInterval(wait); {script} }} }}, 20);"
    )
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = text.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    assert allowed != text
    return allowed.replace("</body>", f"<script>{code}</script></body>")


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome, and there is none here")
def test_a_reader_changes_the_theme_sorts_a_table_and_saves_a_figure(tmp_path: Path) -> None:
    record = STUDIES["whole"]
    script = """
        document.getElementById("theme").click();
        document.querySelectorAll(".sortable th")[1].click();
        Plotly.toImage(document.querySelector("[data-figure=history]"), {format: "png", width: 300, height: 200})
            .then((url) => { document.documentElement.dataset.saved = url.slice(0, 22); });
    """
    page = tmp_path / "report.html"
    page.write_text(acting(render_page(page_of(record), record), script), encoding="utf-8")
    read, said = browse(page, dark=False, folder=tmp_path / "profile")
    assert said == []
    (root,) = [held for tag, held in read.tags if tag == "html"]
    assert root["data-theme"] == "dark"
    assert root["data-saved"] == "data:image/png;base64,"
    ink = {held["style"] for tag, held in read.tags if tag == "text" and "legendtext" in held.get("class", "")}
    assert ink
    assert all("rgb(228, 232, 236)" in style for style in ink)
    (order,) = read.attributes("aria-sort")
    assert order == "ascending"
    scores = sorted(f"{trial.score:.3f}" for trial in record.trials if trial.score is not None)
    cells = [word for word in read.words if re.fullmatch(r"0\.[78]\d\d", word)]
    place = next(at for at, word in enumerate(cells) if cells[at : at + len(scores)] == scores)
    assert cells[place] == scores[0]


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome, and there is none here")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["whole", "pictures", "empty", "bare"])
def test_a_browser_draws_every_figure_without_a_word(kind: str, dark: bool, tmp_path: Path) -> None:
    record = STUDIES.get(kind, STUDIES["whole"])
    items, benchmark = (
        (images(14), FASHION) if kind == "pictures" else (paired(texts(14)), None) if kind == "whole" else ([], None)
    )
    series = rounds(5, FASHION) if kind == "pictures" else []
    page = tmp_path / "report.html"
    page.write_text(render_page(page_of(record, items, benchmark, rounds=series), record), encoding="utf-8")
    read, said = browse(page, dark, tmp_path / "profile")
    assert said == []
    (root,) = [held for tag, held in read.tags if tag == "html"]
    assert root["data-figures"] == "drawn"
    assert root["data-theme"] == ("dark" if dark else "light")
    drawings = [held for _, held in read.tags if "data-figure" in held]
    assert [held["data-figure"] for held in drawings if held.get("data-drawn") != "yes"] == []
    assert len(drawings) == {"whole": 15, "pictures": 16}.get(kind, len(drawings))
    plots = [held for tag, held in read.tags if tag == "svg" and "main-svg" in held.get("class", "")]
    assert len(plots) >= len(drawings)
    addresses = [*read.attributes("src"), *read.attributes("href")]
    assert [address for address in addresses if address and not address.startswith(("#", "data:"))] == []
