"""Files that are as they should be, in every format and dialect."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.data.formats import MAX_FIELD_CHARS, read_table
from tuner.data.lines import MAX_LINE_BYTES
from tuner.errors import DataError

ROWS = [{"text": "Good, very good", "label": "1"}, {"text": 'She said "no"', "label": "0"}]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"Good, very good",1\n"She said ""no""",0\n'),
        ("crlf.csv", 'text,label\r\n"Good, very good",1\r\n\r\n"She said ""no""",0\r\n'),
        ("semicolon.csv", 'text;label\nGood, very good;1\n"She said ""no""";0\n'),
        ("mark.csv", b"\xef\xbb\xbf" + b'text,label\n"Good, very good",1\n"She said ""no""",0'),
        ("plain.tsv", 'text\tlabel\nGood, very good\t1\nShe said "no"\t0\n'),
        ("quoted.tsv", 'text\tlabel\nGood, very good\t1\n"She said ""no"""\t0\n'),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
        ("mark.jsonl", b"\xef\xbb\xbf" + "\n".join(map(json.dumps, ROWS)).encode()),
        ("list.json", json.dumps(ROWS, indent=1)),
        ("data.json", json.dumps({"version": 2, "data": ROWS})),
        ("lines.json", "\n".join(map(json.dumps, ROWS))),
        ("sniffed_csv", 'text,label\n"Good, very good",1\n"She said ""no""",0\n'),
        ("sniffed.txt", 'text\tlabel\nGood, very good\t1\nShe said "no"\t0\n'),
        ("sniffed.dat", "\n" + "\n".join(map(json.dumps, ROWS))),
        ("sniffed", json.dumps(ROWS)),
    ],
)
def test_the_same_rows_come_out_of_every_format(tmp_path: Path, name: str, content: str | bytes) -> None:
    table = read_table(write(tmp_path, name, content))
    assert table.columns == ("text", "label")
    assert list(table.rows) == ROWS


def test_rows_know_their_first_line(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", 'text,label\n"two\nlines",1\n\nnext,0\n'))
    assert [row["text"] for row in table.rows] == ["two\nlines", "next"]
    assert table.numbers == (2, 5)
    assert table.where(1) == "a.csv line 5"
    assert read_table(write(tmp_path, "a.json", '[{"text": "x"}]')).where(0) == "a.json row 1"


def test_a_tsv_with_line_ends_inside_quotes(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.tsv", 'text\tlabel\n"two\nlines"\t1\nnext\t0\n'))
    assert [row["text"] for row in table.rows] == ["two\nlines", "next"]


def test_one_row_and_one_object_are_rows(tmp_path: Path) -> None:
    assert len(read_table(write(tmp_path, "a.csv", "text,label\ngood,1"))) == 1
    assert len(read_table(write(tmp_path, "a.json", '{\n"text": "good",\n"label": 1}'))) == 1


def test_json_keeps_values_and_rows_may_lack_a_key(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.jsonl", '{"text": "x", "label": 1}\n{"text": null, "extra": [1]}'))
    assert table.columns == ("text", "label", "extra")
    assert table.rows[0]["label"] == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", "", "the file is empty"),
        ("header.csv", "text,label\n", "a header but no rows"),
        ("none.jsonl", "\n\n", "a header but no rows"),
        ("none.json", "[]", "a header but no rows"),
        ("twice.csv", "text,text,label\na,b,1\n", "'text' more than once"),
        ("ragged.csv", "text,label\na,b,1\nc,1\nd\n", "2 rows do not have the header's 2 cells: line 2 has 3, line 4"),
        ("ragged.tsv", "text\tlabel\na\tb\t1\nc\t1\n", "1 rows do not have the header's 2 cells: line 2 has 3"),
        ("open.csv", 'text,label\ngood,1\n"never closed,1\nmore,0\n', "line 3 cannot be read: its quote is never"),
        ("wild.csv", 'text,label\n"good" or bad,1\n', "line 2 cannot be read"),
        ("mac.csv", "text,label\rgood,1\rbad,0\r", "old Mac line ends"),
        ("nul.csv", b"text,label\ngo\0od,1\n", "line 2, byte 3 (byte 14 of the file) is NUL"),
        ("latin.csv", "text,label\nok,1\ncaf\xe9,1\n".encode("latin-1"), "line 3, byte 4 (byte 20 of the file)"),
        ("latin.json", '[\n{"text": "caf\xe9"}]'.encode("latin-1"), "line 2, byte 14 (byte 16 of the file)"),
        ("wide.csv", "text,label\ngood,1\n".encode("utf-16"), "the file is UTF-16"),
        ("cut.jsonl", '{"text": "a"}\n{"text": "b', "line 2 is not JSON: unterminated string starting at character"),
        ("list.jsonl", '{"text": "a"}\n[1]\n', "1 rows are not objects, the first on line 2"),
        ("cut.json", '[{"text": "a"}, {"te', "the file is not JSON"),
        ("deep.json", "[" * 100_000, "the file is not JSON"),
        ("dict.json", '{"train": [1], "test": [2]}', "its keys are 'train', 'test'"),
        ("number.json", "3", "holds a int, not rows"),
        ("x.parquet", "PAR1", ".parquet files cannot be read"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_table(path, "data.train")
    (problem,) = caught.value.problems
    assert problem.name == "data.train"
    assert problem.value == str(path)
    assert said in problem.rule
    assert problem.cure


def test_a_cut_off_last_line_is_told_from_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the last line, so the file was probably cut off"):
        read_table(write(tmp_path, "cut.jsonl", '{"text": "a"}\n{"text": "b'))
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, "bad.jsonl", "{\n" * 9 + '{"text": "a"}\n'))
    assert len(caught.value.problems) == 6
    assert "4 more lines" in str(caught.value)
    assert "cut off" not in str(caught.value)


@pytest.mark.parametrize(("text", "encoding"), [("café", "latin-1"), ("这家店很好吃", "gb18030")])
def test_the_cure_for_bad_bytes_names_the_likely_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(write(tmp_path, "a b.csv", f"text,label\n{text},1\n".encode(encoding)))
    name = "WINDOWS-1252" if encoding == "latin-1" else "GB18030"
    assert f"iconv -f {name} -t UTF-8 '" in caught.value.problems[0].cure


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "sniffed"])
def test_a_line_of_ten_megabytes_is_refused_without_holding_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"line 2 is longer than {MAX_LINE_BYTES:,} bytes"):
        read_table(write(tmp_path, name, b'{"text": 1}\n' + b"x" * 10_000_000))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_a_cell_that_is_too_long_is_named(tmp_path: Path, name: str) -> None:
    long = "x" * (MAX_FIELD_CHARS + 1)
    separator = "\t" if name.endswith("tsv") else ","
    content = f"text{separator}label\nshort{separator}1\n{long}{separator}1\n"
    if "json" in name:
        rows = [{"text": "short"}, {"text": long}]
        content = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    with pytest.raises(DataError, match=rf"({'2' if 'json' in name else '3'}) .*131,072 characters"):
        read_table(write(tmp_path, name, content))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\ngood,1\n")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be read: permission denied"):
        read_table(path)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, not a file"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read: file name too long"):
        read_table(tmp_path / ("x" * 300 + ".csv"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ""]))
def test_any_bytes_are_rows_or_a_data_error(tmp_path: Path, content: bytes, extension: str) -> None:
    path = write(tmp_path, "any" + extension, content)
    try:
        table = read_table(path)
    except DataError:
        return
    assert len(table.rows) == len(table.numbers) > 0
