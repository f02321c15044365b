"""Pictures side by side and on a sheet."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.report.pictures import pictures_outputs, pictures_study, png, with_pictures_task  # noqa: F401
from tests.store.factory import study
from tuner.report import contact_sheet as sheets
from tuner.report.analysis import analyse
from tuner.report.contact_sheet import GAP, ITEMS, LINES, SIDE, contact_sheet, pictured, side_by_side
from tuner.report.training_report import write_report
from tuner.store.files import write_study
from tuner.store.outputs import Output, Outputs, write_outputs

RED, GREEN, BLUE, WHITE = (200, 0, 0), (0, 200, 0), (0, 0, 200), (255, 255, 255)


def three(size: int) -> dict[str, bytes]:
    return {"adapter": png(BLUE, size), "base": png(GREEN, size), "expected": png(RED, size)}


@pytest.mark.parametrize(("size", "side"), [(64, 256), (100, 200), (256, 256), (512, 256)])
def test_three_pictures_stand_side_by_side(size: int, side: int) -> None:
    strip = side_by_side(three(size))
    assert strip.size == (3 * side + 2 * GAP, side)
    found = [strip.getpixel((x, side // 2)) for x in (0, side - 1, side, side + GAP, 2 * side + GAP, strip.width - 1)]
    assert found == [RED, RED, WHITE, GREEN, WHITE, BLUE]


def test_a_small_picture_keeps_its_pixels() -> None:
    held = io.BytesIO()
    checks = Image.new("RGB", (64, 64), RED)
    checks.putpixel((5, 7), BLUE)
    checks.save(held, "PNG")
    strip = side_by_side({**three(64), "expected": held.getvalue()})
    blue = [(x, y) for x in range(256) for y in range(256) if strip.getpixel((x, y)) == BLUE]
    assert blue == [(x, y) for x in range(20, 24) for y in range(28, 32)]


@pytest.mark.parametrize("data", [None, b"", b"\x89PNG\r\n\x1a\n", png(GREEN)[:60]])
def test_what_is_missing_or_broken_is_a_hole(data: bytes | None) -> None:
    pictures = three(64)
    del pictures["base"]
    strip = side_by_side(pictures if data is None else {**pictures, "base": data})
    assert strip.getpixel((0, 0)) == RED
    assert strip.getpixel((256 + GAP, 0)) not in (RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize("count", [1, 3, ITEMS, ITEMS + 3])
def test_a_sheet_has_the_first_outputs_in_two_columns(count: int) -> None:
    items = [Output(f"image_{n}", f"coat {n}", "", "", pictures=three(64)) for n in range(count)]
    items[-1] = replace(items[-1], pictures={"expected": png((9, 9, 9), 64)})
    sheet = contact_sheet(items)
    blue = sum(sheet.getpixel((x, y)) == BLUE for x in range(0, sheet.width, 8) for y in range(0, sheet.height, 8))
    pictures = blue / (SIDE / 8) ** 2
    assert pictures == pytest.approx(min(ITEMS, count if count > ITEMS else count - 1), abs=0.2)
    columns = round(sheet.width / (3 * SIDE))
    assert columns == min(2, count)


def test_a_caption_stands_under_its_pictures_and_names_above(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    write = sheets.ImageDraw.ImageDraw.text

    def text(self: object, at: object, words: str, *rest: object, **more: object) -> None:
        said.append(words)
        write(self, at, words, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(sheets.ImageDraw.ImageDraw, "text", text)
    contact_sheet([Output("image_1", "a pastel\n dress", "", "", pictures=three(64)), Output("image_2", "", "", "")])
    assert said == ["reference", "base", "tuned", "a pastel dress", "reference", "base", "tuned", "image_2"]


@given(st.text(max_size=400), st.integers(80, 800))
def test_a_caption_fits_and_loses_nothing_but_its_end(text: str, width: int) -> None:
    lines = sheets._lines(text, width)
    words = " ".join(text.split())
    assert len(lines) <= LINES
    assert all(sheets._font(sheets.FONT).getlength(line) <= width for line in lines)
    kept = "".join(lines).removesuffix("…").replace(" ", "")
    assert words.replace(" ", "").startswith(kept)
    assert len(lines) == LINES or kept == words.replace(" ", "")


def test_outputs_are_read_a_few_at_a_time_and_texts_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    whole = sheets.read_outputs

    def read(folder: Path, pictures: tuple[str, ...] = ()) -> Outputs | None:
        asked.append(len(pictures))
        return whole(folder, pictures)

    monkeypatch.setattr(sheets, "read_outputs", read)
    assert list(pictured(tmp_path)) == []
    write_outputs(tmp_path, pictures_outputs(30))
    assert [item.name for item in pictured(tmp_path)] == [f"image_{n}.jpg" for n in range(1, 31)]
    assert asked == [0, 0, 12, 12, 6]
    asked.clear()
    write_outputs(tmp_path, Outputs("t", "test", tuple(Output(f"text_{n}", "", "", "") for n in range(40))))
    assert list(pictured(tmp_path)) == []
    assert asked == [0, 12]


@pytest.mark.slow
def test_a_report_of_pictures_has_a_sheet(tmp_path: Path, with_pictures_task: None) -> None:  # noqa: F811
    record = pictures_study()
    write_study(tmp_path, record)
    write_outputs(tmp_path, pictures_outputs(3))
    files = write_report(tmp_path, record, analyse(tmp_path, record, 3000.0))
    assert files.named["pictures"] == tmp_path / "reports" / "contact_sheet.png"
    with Image.open(files.named["pictures"]) as sheet:
        assert sheet.format == "PNG"
    assert all(path.is_file() for path in files.named.values())
    write_outputs(tmp_path, Outputs("t", "test", ()))
    assert "pictures" not in write_report(tmp_path, study(), analyse(tmp_path, study(), 3001.0)).named
