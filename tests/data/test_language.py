"""Scripts and letter sequences tell languages, and a warning names both."""

from __future__ import annotations

import pytest

from tuner.data.language import detect_language, detect_script, language_warning


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The soles came off.", "en"),
        ("Schön, aber zu teuer", "de"),
        ("Les chaussures sont très belles et confortables", "fr"),
        ("LAS ZAPATILLAS SON MUY CÓMODAS", "es"),
        ("De schoenen zijn kapot", "nl"),
        ("Skoene er fine og komfortable", "no"),
        ("Rất đẹp và thoải mái khi đi bộ", "vi"),
        ("El Niño jacket", "en"),
        ("Schöne Schuhe", "en"),  # two words may be names
        ("w1 w2 w9 qwzx", "en"),
        ("这双鞋子很舒服", "zh"),
        ("这双 Nike Air 鞋很好穿", "zh"),
        ("この靴はとても履きやすいです", "ja"),
        ("이 신발은 정말 편해요", "ko"),
        ("Очень удобные ботинки", "ru"),
        ("هذا الحذاء مريح جدا", "ar"),
        ("Πολύ άνετα παπούτσια", "el"),
        ("1234 !!! 👍", "unknown"),
        ("", "unknown"),
    ],
)
def test_each_script(text: str, language: str) -> None:
    assert detect_language([text]) == language


def test_the_majority_of_the_writing_counts() -> None:
    assert detect_language(["Good shoes, worn every day since March"] * 9 + ["很好"]) == "en"


def test_a_script_is_told_of_a_word() -> None:
    assert [detect_script([text]) for text in ("Schuhe, die nach einer Woche kaputt sind", "Da", "鞋", "1")] == [
        "en",
        "en",
        "zh",
        "unknown",
    ]


def test_texts_together_are_told_by_most_of_them() -> None:
    german = "Die Schuhe sind nach einer Woche kaputt"
    assert detect_language([german] * 9 + ["Good shoes, worn every day"]) == "de"
    assert detect_language(["Good shoes, worn every day"] * 9 + [german]) == "en"


def test_a_warning_names_both_languages_and_a_base() -> None:
    warning = language_warning(["这双鞋子很舒服"], ["en"])
    assert warning is not None
    assert "Chinese (zh)" in warning
    assert "English (en)" in warning
    assert "bert-base-chinese" in warning
    reverse = language_warning(["Fine shoes"], ["zh"])
    assert reverse is not None
    assert "minilm" in reverse
    assert "German (de)" in str(language_warning(["Die Schuhe sind nach einer Woche kaputt"], ["en"]))


@pytest.mark.parametrize(("text", "languages"), [("Fine", ["en"]), ("很好", ["en", "zh"]), ("很好", ["multilingual"])])
def test_no_warning_where_model_and_texts_agree(text: str, languages: list[str]) -> None:
    assert language_warning([text], languages) is None
    assert language_warning(["123"], languages) is None
