"""Simplified and Traditional text are told apart by what only one of them writes."""

from __future__ import annotations

import pytest

from tuner.data.chinese import chinese_script


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("这双鞋发霉了 应该怎么处理", "simplified"),
        ("這雙鞋發霉了 應該怎麼處理", "traditional"),
        ("湿度低于60% 温度适中", "simplified"),
        ("濕度低於60% 黴菌就長不出來", "traditional"),
        ("品牌叫做龙 這雙鞋應該晾乾", "traditional"),
        ("早上好", None),
        ("发發", None),
        ("No Chinese — ©", None),
        ("", None),
    ],
)
def test_script(text: str, script: str | None) -> None:
    assert chinese_script(text) == script


@pytest.mark.parametrize("character", "的一是不了人我在有他中大上和地到出也可后里面干台只系霉鞋松准")
def test_what_both_write_counts_for_neither(character: str) -> None:
    assert chinese_script(character) is None
