"""Which language a text is written in, and a warning when a model was made for another.

Counts letters by script; which language of Latin script it is, py3langid says by letter sequences (Lui and Baldwin
2012, "langid.py"). What it is not sure of is "en": a name, a word or two, a language that is not in `NAMES`. Of 20,000
lines of SST-2 one is taken for another language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LATIN = {
    "en": "English", "cs": "Czech", "da": "Danish", "de": "German", "es": "Spanish", "fi": "Finnish", "fr": "French",
    "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "sv": "Swedish", "tr": "Turkish", "vi": "Vietnamese",
}  # fmt: skip
NAMES = {
    **_LATIN, "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "ru": "Russian", "ar": "Arabic", "he": "Hebrew",
    "el": "Greek", "hi": "Hindi", "th": "Thai",
}  # fmt: skip
# First and last code point of a script, and how much a letter of it weighs: a Chinese character says about as much as
# three Latin letters, so that a review with a few brand names in it stays Chinese.
_SCRIPTS: tuple[tuple[int, int, str, float], ...] = (
    (0x41, 0x5A, "en", 1.0),
    (0x61, 0x7A, "en", 1.0),
    (0xC0, 0x24F, "en", 1.0),
    (0x370, 0x3FF, "el", 1.0),
    (0x400, 0x52F, "ru", 1.0),
    (0x590, 0x5FF, "he", 1.0),
    (0x600, 0x6FF, "ar", 1.0),
    (0x900, 0x97F, "hi", 1.0),
    (0xE00, 0xE7F, "th", 1.0),
    (0x3040, 0x30FF, "ja", 2.0),
    (0x3400, 0x4DBF, "zh", 3.0),
    (0x4E00, 0x9FFF, "zh", 3.0),
    (0x20000, 0x2FA1F, "zh", 3.0),
    (0x1100, 0x11FF, "ko", 2.0),
    (0xAC00, 0xD7AF, "ko", 2.0),
)
_TEXTS, _CHARS = 2000, 500
_READ = 20_000  # characters of Latin script that are looked at for their language
_WORDS = 3  # fewer tell no language
_LEAST_ENGLISH = 0.01  # the probability below which a text is taken for another language


def read_model() -> None:
    """Read what tells languages of Latin script, which takes a moment, so that no text waits for it."""
    _identifier()


def detect_language(texts: Iterable[str]) -> str:
    """The language most of the writing is in, a code of `NAMES`; "unknown" where there are no letters.

    Looks at the first 500 characters of the first 2,000 texts.
    """
    starts = [text[:_CHARS] for text in islice(texts, _TEXTS)]
    found = detect_script(starts)
    return _latin("\n".join(starts)[:_READ]) if found == "en" else found


def detect_script(texts: Iterable[str]) -> str:
    """As `detect_language`, but "en" for all that is written in Latin script: as sure of a word as of a page."""
    counts: Counter[str] = Counter()
    for text in islice(texts, _TEXTS):
        counts.update(text[:_CHARS])
    weights: dict[str, float] = {}
    for character, count in counts.items():
        language, weight = _script(character)
        if language:
            weights[language] = weights.get(language, 0.0) + weight * count
    # Japanese mixes kana with Chinese characters; Chinese text has no kana.
    if weights.get("ja", 0.0) > 0.1 * weights.get("zh", 0.0):
        weights["ja"] = weights.get("ja", 0.0) + weights.pop("zh", 0.0)
    return max(weights, key=lambda language: weights[language]) if weights else "unknown"


def _latin(text: str) -> str:
    """Which language of Latin script."""
    if len(text.split()) < _WORDS:
        return "en"
    likely = dict(_identifier().rank(text))
    return max(likely, key=lambda language: likely[language]) if likely["en"] < _LEAST_ENGLISH else "en"


@lru_cache(1)
def _identifier() -> LanguageIdentifier:
    """Its model, 4 MB, read in half a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages(list(_LATIN))
    return made


@lru_cache(65_536)
def _script(character: str) -> tuple[str, float]:
    """The language of a letter, and its weight."""
    code = ord(character)
    return next(((language, weight) for first, last, language, weight in _SCRIPTS if first <= code <= last), ("", 0.0))


def language_warning(texts: Iterable[str], model_languages: Sequence[str]) -> str | None:
    """The `warning_of` the language that texts are in."""
    return warning_of(detect_language(texts), model_languages)


def warning_of(found: str, model_languages: Sequence[str]) -> str | None:
    """A sentence that names both languages if the one that was found is not among the model's, else None.

    `model_languages` holds codes as in `NAMES`, or "multilingual", which fits everything.
    """
    if found == "unknown" or found in model_languages or "multilingual" in model_languages or not model_languages:
        return None
    models = " and ".join(f"{NAMES.get(code, code)} ({code})" for code in model_languages)
    base = {"zh": "bert-base-chinese", "en": "minilm"}.get(found)
    cure = f", for example base_model: {base}" if base else ""
    return (
        f"The texts are {NAMES[found]} ({found}) and the base model was made for {models}: expect poor scores. "
        f"Choose a base made for {NAMES[found]}{cure}."
    )
