"""From a DataConfig to the rows of a fashion study: which style is drawn, or which folders are read, cut and sampled.

Knows nothing of the base: the resolution is given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from tuner.bases.garments.draw import LARGEST
from tuner.bases.garments.styles import STYLES
from tuner.config import DataConfig
from tuner.data.fingerprint import fingerprint
from tuner.data.hub import is_hub_id
from tuner.data.image_file import load_picture, pixel_hash
from tuner.data.image_findings import Finding, Tally
from tuner.data.image_rows import ImageRow, fingerprint_images
from tuner.data.images import MIN_PICTURES, read_image_folder
from tuner.data.load import complete
from tuner.errors import DataError, Problem
from tuner.tasks.fashion.rows import COUNTS, REPEATS, FashionData, PictureRow, embedded_rows, encoded

RowT = TypeVar("RowT")

STYLE = "pastel romantic"
"""The style that the source "embedded" draws."""


@dataclass(frozen=True)
class Loaded:
    """Rows with what is to be told of them. `notes` are sentences for the log; `fingerprints` name by split exactly
    these pictures in this order; those of a folder do not depend on the resolution, unless two pictures are the same at
    one of them alone."""

    data: FashionData
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    fingerprints: Mapping[str, str]


@dataclass
class _Found:
    """What folders hold: rows by split, and the folder that each split lies in."""

    rows: dict[str, tuple[ImageRow, ...]]
    roots: dict[str, Path]
    notes: list[str]
    findings: list[Finding]


def load_pictures(config: DataConfig, resolution: int) -> Loaded:
    """The rows that a config names, cut and sampled as it says; the same config gives the same rows.

    The source is "embedded", "embedded:STYLE" or a folder; `resolution` is the side in pixels. Pictures that stand in
    two splits, whole or as the middle square that training sees, are left out of the one before. Raises DataError with
    all that is wrong.
    """
    style = style_of(config.source) if config.train is None else None
    problems = list(_contradictions(config, style))
    if style is not None and style not in STYLES:
        known = ", ".join(f"embedded:{each.replace(' ', '-')}" for each in STYLES)
        problems.append(Problem("data.source", config.source, "there is no such style", f"Use one of: {known}."))
    elif style is not None and resolution > LARGEST:
        rule = f"garments are drawn with at most {LARGEST} pixels a side, and the resolution is {resolution}"
        problems.append(Problem("data.source", config.source, rule, "Lower space.resolution, or name a folder."))
    if problems:
        raise DataError(problems)
    return _drawn(style, config, resolution) if style is not None else _read(config, resolution)


def style_of(source: str) -> str | None:
    """The style that a source asks to draw, known or not; None for a source of files."""
    kind, colon, style = source.partition(":")
    if kind != "embedded":
        return None
    return " ".join(style.replace("-", " ").replace("_", " ").lower().split()) if colon else STYLE


def _contradictions(config: DataConfig, style: str | None) -> Iterator[Problem]:
    if config.labels is not None:
        yield Problem("data.labels", config.labels, "pictures have no labels to map", "Leave it out.")
    if config.train is not None and style_of(config.source) is None:
        rule = f"data.source is {config.source!r} as well"
        yield Problem("data.train", str(config.train), rule, "Leave one of the two out.")
    given = config.validation or config.test
    if style is not None and given:
        rule = "a folder to validate or test on goes with one to train on, and the source is the embedded data"
        yield Problem("data.train", None, rule, f"Name the folder that belongs to {given}.")


def _drawn(style: str, config: DataConfig, resolution: int) -> Loaded:
    notes, counts = [], {}
    for split, there in COUNTS.items():
        wanted: int = getattr(config, f"{split}_samples") or there
        counts[split] = min(there, wanted)
        if wanted > there:
            notes.append(f"{split}: {wanted} pictures were asked for and there are {there}; all are used.")
    data = embedded_rows(style, counts, resolution, REPEATS)
    return Loaded(data, tuple(notes), (), {split: _sequence(rows) for split, rows in data.named().items()})


def _sequence(rows: tuple[PictureRow, ...]) -> str:
    return fingerprint(
        {"pixels": pixel_hash(Image.fromarray(row.pixels())), "caption": row.caption, "label": row.label}
        for row in rows
    ).sequence


def _read(config: DataConfig, resolution: int) -> Loaded:
    found = _found(config)
    # Pictures of two folders may be the same; those of one folder were compared when it was read.
    rows = _without_leaks(found, found.rows, lambda row: row, lambda row: row.pixels, "")
    train, validation, test, notes = complete(
        rows["train"],
        rows.get("validation"),
        rows.get("test"),
        config,
        lambda row: row.label,
        lambda row: row.pixels,
    )
    splits = {"train": train, "validation": validation, "test": test}
    if empty := [split for split, kept in splits.items() if not kept]:
        rule = f"nothing is left for {', '.join(empty)} once equal pictures stay together"
        cure = "Add pictures that differ from each other."
        raise DataError(Problem("data.source pictures", len(rows["train"]), rule, cure))
    for split in splits:
        found.roots.setdefault(split, found.roots["train"])
    pairs = {
        split: tuple((row, _encoded(row, found.roots[split], resolution, split)) for row in kept)
        for split, kept in splits.items()
    }
    pairs = _without_leaks(found, pairs, lambda pair: pair[0], lambda pair: pair[1].png, " (its middle square)")
    made = {split: tuple(row for _, row in kept) for split, kept in pairs.items()}
    made["train"] = tuple(row for row in made["train"] for _ in range(row.repeats))
    prints = {split: fingerprint_images([row for row, _ in kept]).sequence for split, kept in pairs.items()}
    data = FashionData(**made, resolution=resolution)
    return Loaded(data, (*found.notes, *notes), tuple(found.findings), prints)


def _encoded(row: ImageRow, root: Path, resolution: int, split: str) -> PictureRow:
    pixels = load_picture(row.path, resolution)
    repeats = row.repeats if split == "train" else 1
    return PictureRow(row.path.relative_to(root).as_posix(), row.caption, encoded(pixels), row.label, repeats)


def _found(config: DataConfig) -> _Found:
    """What the source holds, and what the folders hold that are named split by split: these replace the source's."""
    found, problems = _Found({}, {}, [], []), []
    if config.train is None:
        problems += _add(found, Path(config.source).expanduser(), None, config)
    for split in ("train", "validation", "test"):
        path: Path | None = getattr(config, split)
        if path is not None:
            problems += _add(found, path, split, config)
    if problems:
        raise DataError(dict.fromkeys(problems))
    return found


def _add(found: _Found, folder: Path, split: str | None, config: DataConfig) -> list[Problem]:
    """Read a folder into `found`, as one split or, where that is None, as the splits it holds. What is wrong comes
    back."""
    name = f"data.{split or 'source'}"
    if split is None and is_hub_id(config.source) and not folder.exists():
        rule = "there is no such folder, and data sets of the hub are not read for pictures"
        cure = "Download it into a folder (hf download NAME --repo-type dataset --local-dir FOLDER) and name that."
        return [Problem(name, config.source, rule, cure)]
    least = 1 if split in ("validation", "test") else MIN_PICTURES
    try:
        read = read_image_folder(folder, columns=config.columns, name=name, least=least)
    except DataError as error:
        return list(error.problems)
    rows, notes, findings = read.named(), list(read.notes), list(read.findings)
    if split is not None:
        if len(rows) > 1:
            rule = f"this folder has splits of its own: {', '.join(rows)}"
            return [Problem(name, str(folder), rule, "Name it as data.source, or name a folder in it here.")]
        rows = {split: read.train}
        notes = [f"{split}: {note.removeprefix('train: ')}" for note in notes]
        findings = [replace(finding, counts={split: finding.count}) for finding in findings]
    found.rows |= rows
    found.roots |= dict.fromkeys(rows, folder)
    found.notes += notes
    found.findings += findings
    return []


def _without_leaks(
    found: _Found,
    splits: Mapping[str, tuple[RowT, ...]],
    image: Callable[[RowT], ImageRow],
    identity: Callable[[RowT], Hashable],
    said: str,
) -> dict[str, tuple[RowT, ...]]:
    """The splits, train first, without what a later one holds as well: test keeps all of its rows. What is left out
    goes to the findings, with `said` behind its name. `image` is the picture of a row, `identity` what equal pictures
    share. Raises DataError if nothing of a split is left."""
    tally, held = Tally(), set[Hashable]()
    kept = dict(splits)
    for split in ("test", "validation", "train"):
        rows = splits.get(split, ())
        for row in rows:
            if identity(row) in held:
                tally.add("leaks", split, f"{image(row).path.relative_to(found.roots[split]).as_posix()}{said}")
        if rows:
            kept[split] = tuple(row for row in rows if identity(row) not in held)
            if not kept[split]:
                rule = f"every picture of {split} stands in another split as well"
                raise DataError(Problem(f"data.{split}", str(found.roots[split]), rule, "Use others, or leave it out."))
        held |= {identity(row) for row in rows}
    found.findings += tally.findings()
    return kept
