"""One picture file: what is read, into what, and what is refused by which rule."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.pictures import drawn, png_claiming, save
from tuner.data.image_file import MAX_BYTES, Picture, Refusal, load_picture, pixel_hash, read_picture
from tuner.errors import DataError


def read(path: Path) -> Picture:
    found = read_picture(path)
    assert isinstance(found, Picture), found
    assert found.image.mode == "RGB"
    return found


def refused(path: Path) -> str:
    found = read_picture(path)
    assert isinstance(found, Refusal)
    assert found.said
    assert found.cure
    return found.rule


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "webp"])
def test_a_plain_picture_is_read_as_it_is(tmp_path: Path, extension: str) -> None:
    options = {"lossless": True} if extension == "webp" else {}
    picture = read(save(tmp_path / f"a.{extension}", 3, **options))
    assert picture.changes == frozenset()
    assert pixel_hash(picture.image) == pixel_hash(drawn(3))


def test_the_content_says_the_format(tmp_path: Path) -> None:
    assert read(save(tmp_path / "a.jpg", 1, format="PNG")).changes == frozenset()


def test_16_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    values = np.linspace(0, 65_535, 40 * 40).reshape(40, 40).astype(np.uint16)
    expected = np.rint(values / 257).astype(np.uint8)
    for path in (save(tmp_path / "a.png", Image.fromarray(values)), save(tmp_path / "a.tif", Image.fromarray(values))):
        picture = read(path)
        assert picture.changes == {"deep", "gray"}
        assert np.array_equal(np.asarray(picture.image)[..., 0], expected)
    wide = read(save(tmp_path / "b.tif", Image.fromarray(values.astype(np.int32))))
    assert wide.changes == {"deep", "gray"}
    assert np.array_equal(np.asarray(wide.image)[..., 2], expected)


def test_more_than_16_bits_are_refused(tmp_path: Path) -> None:
    assert refused(save(tmp_path / "a.tif", Image.new("I", (40, 40), 70_000))) == "too_deep"
    assert refused(save(tmp_path / "b.tif", Image.new("F", (40, 40), 0.5))) == "too_deep"


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    picture = read(save(tmp_path / "a.jpg", Image.new("CMYK", (40, 40), (0, 255, 255, 0)), quality=95))
    assert picture.changes == {"cmyk"}
    red, green, blue = picture.image.getpixel((20, 20))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize(("mode", "changes"), [("RGBA", {"alpha"}), ("LA", {"alpha", "gray"})])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str, changes: set[str]) -> None:
    picture = drawn(1).convert(mode)
    picture.putalpha(Image.new("L", picture.size, 0))
    found = read(save(tmp_path / "a.png", picture))
    assert found.changes == changes
    assert found.image.getextrema() == ((255, 255),) * 3


def test_a_transparent_gray_of_16_bits_too(tmp_path: Path) -> None:
    values = np.full((40, 40), 30_000, np.uint16)
    values[:, 20:] = 30_001  # the same gray in 8 bits, and not transparent
    path = save(tmp_path / "a.png", Image.fromarray(values))
    # Pillow writes no transparency with 16 bits.
    raw, chunk = path.read_bytes(), b"tRNS" + struct.pack(">H", 30_000)
    at = raw.index(b"IDAT") - 4
    path.write_bytes(raw[:at] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + raw[at:])
    found = read(path)
    assert found.changes == {"deep", "gray", "alpha"}
    assert found.image.getpixel((0, 0)) == (255, 255, 255)
    assert found.image.getpixel((30, 0)) == (117, 117, 117)


@pytest.mark.parametrize("transparent", [0, b"\x00\xff"])
def test_transparent_colours_of_a_palette_too(tmp_path: Path, transparent: int | bytes) -> None:
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.paste(1, (20, 0, 40, 40))
    found = read(save(tmp_path / "a.png", picture, transparency=transparent))
    assert found.changes == {"alpha"}
    assert found.image.getpixel((0, 0)) == (255, 255, 255)
    assert found.image.getpixel((30, 0)) == (0, 0, 255)


def test_half_transparent_is_mixed_with_white(tmp_path: Path) -> None:
    found = read(save(tmp_path / "a.png", Image.new("RGBA", (40, 40), (0, 0, 0, 127))))
    assert found.image.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_becomes_rgb(tmp_path: Path, mode: str) -> None:
    assert read(save(tmp_path / "a.png", drawn(1, mode=mode))).changes == {"gray"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "tif"])
def test_exif_turns_the_picture_upright(tmp_path: Path, orientation: int, extension: str) -> None:
    upright = drawn(5, 40, 60)
    stored = {
        1: lambda: upright,
        2: lambda: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda: upright.transpose(Image.Transpose.ROTATE_180),
        4: lambda: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda: upright.transpose(Image.Transpose.TRANSPOSE),
        6: lambda: upright.transpose(Image.Transpose.ROTATE_90),
        7: lambda: upright.transpose(Image.Transpose.TRANSVERSE),
        8: lambda: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]()
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read(save(tmp_path / f"a.{extension}", stored, exif=exif))
    assert pixel_hash(found.image) == pixel_hash(upright)
    assert ("turned" in found.changes) == (orientation > 1)


def test_broken_exif_does_no_harm(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", 1, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x63garbage")
    assert read(path).changes == frozenset()


def test_a_photograph_with_a_second_frame_of_a_phone_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", 1, format="MPO", save_all=True, append_images=[drawn(2)])
    with Image.open(path) as opened:
        assert opened.format == "MPO"
        assert opened.n_frames == 2
    assert read(path).image.size == (40, 48)


@pytest.mark.parametrize("extension", ["gif", "webp", "png", "tif"])
def test_more_than_one_frame_is_refused(tmp_path: Path, extension: str) -> None:
    path = save(tmp_path / f"a.{extension}", 1, save_all=True, append_images=[drawn(2), drawn(3)])
    assert refused(path) == "animated"


def test_a_gif_of_one_frame_is_read(tmp_path: Path) -> None:
    assert read(save(tmp_path / "a.gif", 1)).image.size == (40, 48)


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tif"])
def test_a_cut_off_file_is_refused(tmp_path: Path, extension: str) -> None:
    path = save(tmp_path / f"a.{extension}", drawn(1, 200, 200))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path) in ("damaged", "not_a_picture")  # WebP cannot be opened at all, TIFF keeps its index last
    path.write_bytes(whole[:20])
    assert refused(path) in ("damaged", "not_a_picture")


@pytest.mark.parametrize("side", [8_001, 12_000, 50_000])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_claiming(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # people run without errors for warnings, and Pillow then goes on
        assert refused(path) == "too_many_pixels"
    assert refused(path) == "too_many_pixels"


def test_a_size_at_the_limit_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_claiming(8_000, 8_000))
    assert refused(path) == "damaged"


def test_too_many_bytes_are_not_opened(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 1)
    os.truncate(path, MAX_BYTES)
    assert read(path).image.size == (40, 48)
    os.truncate(path, MAX_BYTES + 1)
    assert refused(path) == "too_many_bytes"


def test_small_pictures_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", drawn(1, 31, 200))
    found = read_picture(path)
    assert isinstance(found, Refusal)
    assert (found.rule, found.said) == ("too_small", "it has 31 x 200 pixels, and each side needs 32")
    assert isinstance(read_picture(save(path, drawn(1, 32, 200))), Picture)


@pytest.mark.parametrize(("width", "long"), [(128, False), (129, True)])
def test_long_pictures_are_marked(tmp_path: Path, width: int, long: bool) -> None:
    assert ("long" in read(save(tmp_path / "a.png", drawn(1, width, 32))).changes) == long


def test_what_is_no_picture(tmp_path: Path) -> None:
    text, empty, vector = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.svg"
    text.write_text("hello " * 100)
    empty.touch()
    vector.write_text("<svg/>")
    assert [refused(path) for path in (text, empty, vector)] == ["not_a_picture", "not_a_picture", "foreign"]
    assert refused(tmp_path / "none.png") == "unreadable"
    assert refused(tmp_path) == "unreadable"
    assert refused(tmp_path / ("x" * 300 + ".png")) == "unreadable"
    os.mkfifo(tmp_path / "pipe.png")
    assert refused(tmp_path / "pipe.png") == "unreadable"


@pytest.mark.parametrize(("width", "height", "size"), [(96, 32, 16), (40, 120, 20), (64, 64, 64), (48, 32, 64)])
def test_training_sees_the_middle_square(tmp_path: Path, width: int, height: int, size: int) -> None:
    picture = drawn(1, width, height)
    values = load_picture(save(tmp_path / "a.png", picture), size)
    assert values.dtype == np.uint8
    scale = size / min(width, height)
    whole = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    left, top = (whole.width - size) // 2, (whole.height - size) // 2
    assert np.array_equal(values, np.asarray(whole)[top : top + size, left : left + size])
    values[0, 0] = 7  # training may work on it in place


def test_making_smaller_does_not_alias(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    values = load_picture(save(tmp_path / "a.png", Image.fromarray(stripes)), 32)
    assert np.abs(values.astype(int) - 128).max() < 8


def test_a_very_long_picture_costs_no_memory(tmp_path: Path) -> None:
    assert load_picture(save(tmp_path / "a.png", Image.new("RGB", (60_000, 32))), 512).shape == (512, 512, 3)


def test_loading_names_the_file_and_the_rule(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train = '.*none\.png': there is no such file") as caught:
        load_picture(tmp_path / "none.png", 64, "data.train")
    assert len(caught.value.problems) == 1


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["png", "jpg", "webp", "gif", "bmp", "tif"]), st.data())
def test_no_damage_gets_out(tmp_path_factory: pytest.TempPathFactory, extension: str, data: st.DataObject) -> None:
    """Whatever bytes are changed or cut: a picture or a rule, never another exception or a warning."""
    path = save(tmp_path_factory.mktemp("damage") / f"a.{extension}", 1)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    found = read_picture(path)
    assert isinstance(found, Refusal) or found.image.mode == "RGB"
