"""Which of the four ways is advised, and in which words."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from tuner.score_benchmark import TOTAL_LOSS
from tuner.store.files import finite
from tuner.tasks.chain import Way
from tuner.tasks.fashion.comparison import COLUMNS, TITLES, TOLERANCE, Picture, Setting, in_words, recommend, to_json

SETTING = Setting("garment_sd", "cpu (a CPU)", "float32", "process", {"prompt": "p-prompt", "finetune": "p-finetune"})
LOSSES = st.floats(0, 2) | st.just(math.nan)


def ways(*losses: float) -> list[Way]:
    return [
        Way(name, title, {**dict.fromkeys(COLUMNS, 0.5), TOTAL_LOSS: loss}, f"tuner predict fashion x --{name}")
        for (name, title), loss in zip(TITLES.items(), losses, strict=True)
    ]


def named(*losses: float) -> dict[str, float]:
    return dict(zip(TITLES, losses, strict=True))


@given(st.tuples(LOSSES, LOSSES, LOSSES, LOSSES))
def test_the_cheapest_of_the_nearly_best(drawn: tuple[float, ...]) -> None:
    losses = named(*drawn)
    best = recommend(losses)
    measured = {name: loss for name, loss in losses.items() if not math.isnan(loss)}
    if not measured:
        assert best == "base"
        return
    limit = min(measured.values()) * (1 + TOLERANCE)
    assert losses[best] <= limit
    cheaper = list(TITLES)[: list(TITLES).index(best)]
    assert all(math.isnan(losses[name]) or losses[name] > limit for name in cheaper)


def test_two_percent_decide() -> None:
    assert recommend(named(0.5, 0.45, 0.408, 0.4)) == "lora"
    assert recommend(named(0.5, 0.45, 0.409, 0.4)) == "both"
    assert recommend(named(0.4, 0.4, 0.4, 0.4)) == "base"
    assert recommend(named(math.nan, 0.9, 0.5, 0.5)) == "lora"


def test_the_words_say_why_and_how() -> None:
    text = in_words(ways(0.6, 0.5, 0.3, 0.4), "lora", SETTING)
    assert text.startswith("Use LoRA: its total loss of 0.300 is the lowest (base 0.600, prompt only 0.500")
    assert "0.50 s" in text
    assert "MB of the process" in text
    assert text.endswith("tuner predict fashion x --lora")
    near = in_words(ways(0.6, 0.5, 0.3, 0.299), "lora", SETTING)
    assert "within 2% of the lowest, that of LoRA + prompts" in near
    assert "costs less" in near
    none = in_words(ways(*[math.nan] * 4), "base", SETTING)
    assert "could be measured" in none


def test_every_key_of_the_json_is_documented() -> None:
    import tuner.tasks.fashion.comparison as module

    picture = Picture("a dress", "a red dress", 7, named(0.6, 0.5, math.nan, 0.4))
    found = to_json(SETTING, ways(0.6, 0.5, 0.3, 0.4), "lora", "Use it.", [picture])
    assert list(found["ways"]) == list(TITLES)
    for key in (*found, *found["ways"]["lora"], *found["pictures"][0]):
        assert key in (module.__doc__ or ""), key
    assert set(found["ways"]["base"]) == {"title", "command", *COLUMNS}
    assert json.loads(json.dumps(finite(found)))["pictures"][0][TOTAL_LOSS]["lora"] is None
