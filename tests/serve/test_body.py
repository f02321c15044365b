"""Bodies: the depth scan agrees with a parser, and what is too long, slow or strange is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.body import ClientGone, Incoming, parsed, replayed, too_deep
from serve.problems import Message, Refusal

JSON = {b"content-type": b"application/json", b"transfer-encoding": b"chunked"}
Headers = dict[bytes, bytes]

values = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\ é') | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=3),
)


def depth(value: Any) -> int:
    """How deep arrays and objects are nested."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def wrapped(value: Any, layers: list[bool]) -> Any:
    """A value inside arrays and objects."""
    for as_list in layers:
        value = [value] if as_list else {"a]": value}
    return value


@given(values, st.lists(st.booleans(), max_size=12), st.integers(0, 14), st.booleans())
def test_the_scan_agrees_with_a_parser(value: Any, layers: list[bool], limit: int, ascii_only: bool) -> None:
    whole = wrapped(value, layers)
    body = json.dumps(whole, ensure_ascii=ascii_only).encode()
    assert too_deep(body, limit) == (depth(json.loads(body)) > limit)


@given(st.text('[]{}",\\a ', max_size=80).map(str.encode), st.integers(1, 6))
def test_whatever_a_parser_takes_is_not_deeper_than_the_scan_says(body: bytes, limit: int) -> None:
    refused = too_deep(body, limit)
    try:
        found = json.loads(body)
    except ValueError:
        return
    assert refused == (depth(found) > limit)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_megabyte_of_brackets_is_refused(opening: bytes) -> None:
    for body in (opening * 100_000, opening * 40 + b"1" + b"]" * 40, b'"\\"' + opening * 50_000):
        with pytest.raises(Refusal) as caught:
            parsed(body)
        assert caught.value.status == 400


def test_many_shallow_arrays_are_fine() -> None:
    assert len(parsed(b"[" + b",".join([b'[[],{"a":[]}]'] * 50_000) + b"]")) == 50_000
    assert parsed(b"[" * 32 + b"]" * 32)
    with pytest.raises(Refusal, match="deeper than 32"):
        parsed(b"[" * 33 + b"]" * 33)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"]",
        b"]" * 100,
        b"[" * 20,
        b"nul",
        b'{"a": NaN}',
        b'{"a": 1,}',
        b"'a'",
        b"[1] 2",
        b'"a\x00b"',
        b"\x00",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b"\xef\xbb\xbf1",
        '"a"'.encode("utf-16"),
        b"9" * 5000,
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    with pytest.raises(Refusal, match="not valid JSON") as caught:
        parsed(body)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")
    assert len(caught.value.message) < 160


def incoming(headers: Headers, *messages: Message) -> Incoming:
    """A body that comes in these messages; then nothing comes, for ever."""
    coming = [*messages]

    async def receive() -> Message:
        if coming:
            return coming.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    return Incoming(headers, receive)


def part(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def read(headers: Headers, *messages: Message, limit: int = 100) -> tuple[bytes, Any]:
    return asyncio.run(incoming(headers, *messages).json(limit, 0.05))


def refused(headers: Headers, *messages: Message) -> int:
    with pytest.raises(Refusal) as caught:
        read(headers, *messages)
    return caught.value.status


def test_a_body_in_pieces_is_one() -> None:
    assert read(JSON, part(b'{"a"'), part(b""), part(b": 1}", False)) == (b'{"a": 1}', {"a": 1})


def test_length_is_checked_first_and_then_counted() -> None:
    assert refused({**JSON, b"content-length": b"101"}) == 413
    assert refused(JSON, part(b" " * 60), part(b" " * 41)) == 413
    assert refused({**JSON, b"content-length": b"3"}, part(b" " * 101, False)) == 413, "a length may lie"
    assert read(JSON, part(b" " * 99), part(b"1", False))[1] == 1


@pytest.mark.parametrize("length", [b"-1", b"+1", b"1e3", b"", b"0x10", b"1, 1", b"\xd9\xa1", b"1" * 16])
def test_a_length_is_a_number(length: bytes) -> None:
    assert refused({**JSON, b"content-length": length}) == 400


def test_a_slow_sender() -> None:
    assert refused(JSON, part(b"{")) == 408


def test_an_empty_body() -> None:
    assert refused({b"content-type": b"application/json"}) == 400
    assert refused(JSON, part(b"", False)) == 400


def test_a_client_that_leaves() -> None:
    with pytest.raises(ClientGone):
        read(JSON, part(b"{"), {"type": "http.disconnect"})


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; Charset=UTF-8", 200),
        ('application/json; charset="utf-8"', 200),
        ("application/json; charset=utf-16", 415),
        ("application/jsonx", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
        ("\xff" * 5000, 415),
    ],
)
def test_content_type(kind: str, status: int) -> None:
    headers = {**JSON, b"content-type": kind.encode("latin-1")}
    if status == 200:
        assert read(headers, part(b"1", False))[1] == 1
    else:
        assert refused(headers, part(b"1", False)) == status


@pytest.mark.parametrize("coding", [b"gzip", b"GZIP, identity", b"br", b""])
def test_a_compressed_body_is_refused_unread(coding: bytes) -> None:
    assert refused({**JSON, b"content-encoding": coding}) == 415
    assert read({**JSON, b"content-encoding": b"Identity"}, part(b"1", False))[1] == 1


@pytest.mark.parametrize(
    ("headers", "messages", "over"),
    [
        ({}, [], True),
        ({b"content-length": b"0"}, [], True),
        ({b"content-length": b"3"}, [part(b"abc", False)], True),
        ({b"transfer-encoding": b"chunked"}, [part(b"a" * 60_000), part(b"a" * 6_000)], False),
        ({b"content-length": b"70000"}, [], False),
        ({b"content-length": b"3", b"expect": b"100-continue"}, [part(b"abc", False)], False),
        ({b"content-length": b"3"}, [{"type": "http.disconnect"}], False),
    ],
)
def test_what_can_be_drained(headers: Headers, messages: list[Message], over: bool) -> None:
    assert asyncio.run(incoming(headers, *messages).drain()) == over


def test_replayed_once_and_then_the_client() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def twice() -> list[Message]:
        again = replayed(b"abc", gone)
        return [await again(), await again()]

    assert asyncio.run(twice()) == [part(b"abc", False), {"type": "http.disconnect"}]
