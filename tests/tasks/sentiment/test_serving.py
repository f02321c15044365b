"""A served encoder: every text is judged as its adapter judges it alone, whoever else is in the batch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.engine import toy
from tests.tasks.served_contract import Case, ServedContract, Under, changed, finish
from tuner import tasks
from tuner.data.classification import Splits
from tuner.errors import BaseModelError, EngineError, StoreError
from tuner.tasks.sentiment.predict import SentimentPredictor
from tuner.tasks.sentiment.reviews import embedded_splits
from tuner.tasks.sentiment.serving import HEAD, PADDED, TOKENS, Sentiment, ServedSentiment, _head

# PEFT asks transformers for a name that it will drop; transformers draws a bar
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
MOST = 70  # tokens that toy adapters read
WORDS = toy.WORDS
TEXTS = [
    "good",
    "bad w1 w2",
    " ".join(WORDS[6:40]),
    " ".join(WORDS * 3),
    "nothing that it has ever heard of",
    " ",
    "w1 " * MOST,
    "good [SEP] w3 </s> bad",
]


def make_adapters(
    base: Path | str, folder: Path, params: Mapping[str, Mapping[str, Any]], far: float = 0.4, **changes: Any
) -> dict[str, Path]:
    """Adapters as a search saves them, as far from their start as a long training would bring them."""
    packing = toy.make_packing(base, **changes)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    found = {}
    for seed, (name, chosen) in enumerate(params.items()):
        packing.start(toy.make_spec(name, seed=seed, **chosen))
        slot = packing.trials[name].slot
        drawn = {
            key: torch.randn(value.shape, generator=generator) * far
            for key, value in packing.store.tensors(slot).items()
        }
        packing.store.layout.fill(packing.store.weights[slot], drawn)
        packing.store.restore(slot, "average", drawn)
        tensors, own = packing.adapter(name, "last")
        packing.task.save(folder / name, tensors, own)
        found[name] = folder / name
    return found


def adapters_of(kind: str, base: Path, folder: Path) -> dict[str, Path]:
    """Of unequal ranks, on unequal modules."""
    params = {
        "small": {"rank": 1, "alpha": 3},
        "everywhere": {"rank": 9, "alpha": 5, "target_modules": toy.EVERYWHERE[kind]},
        "one": {"rank": 4, "alpha": 8, "target_modules": toy.TARGETS[kind][1:]},
    }
    return make_adapters(base, folder, params)


def make_served(base: Path | str, capacity: int = 10**8) -> ServedSentiment:
    found = tasks.spec("sentiment").serve(str(base), None, toy.task_device(), capacity)
    assert isinstance(found, ServedSentiment)
    return found


def distance(one: Any, other: Any) -> float:
    if not (isinstance(one, Sentiment) and isinstance(other, Sentiment)):
        return math.inf
    if (one.label, one.name) != (other.label, other.name):
        return one.probability + other.probability
    return abs(one.probability - other.probability)


@pytest.fixture(scope="module", params=toy.KINDS)
def case(request: pytest.FixtureRequest, toy_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Case:
    kind: str = request.param
    folder = tmp_path_factory.mktemp(kind)
    folders = adapters_of(kind, toy_bases[kind], folder / "adapters")
    other = next(each for each in toy.KINDS if each != kind)
    foreign = {
        "of another base": changed(folders["small"], folder / "other", base_model=str(toy_bases[other])),
        "of no base": changed(folders["small"], folder / "none", base_model="/no/longer/there"),
        "of another task": changed(folders["small"], folder / "task", task="shoe_qa"),
        "of other modules": adapters_of(other, toy_bases[other], folder / "modules")["small"],
    }
    return Case(lambda: make_served(toy_bases[kind]), folders, TEXTS, distance, foreign)


class TestContract(ServedContract):
    """Sentiment on all four layouts."""


def ask(served: ServedSentiment, case: Case, *orders: tuple[str, str]) -> list[Any]:
    unders = [Under(case.residents[name], text) for name, text in orders]
    served.admit([under.job for under in unders])
    finish(served)
    return [under.end for under in unders]


def served_of(case: Case) -> ServedSentiment:
    assert isinstance(case.served, ServedSentiment)
    return case.served


def test_answers_are_those_of_plain_peft(case: Case) -> None:
    texts = [*TEXTS, *(text for text, _ in toy.make_rows(40, seed=1))]
    found = ask(served_of(case), case, *((name, text) for text in texts for name in case.folders))
    for number, folder in enumerate(case.folders.values()):
        expected = SentimentPredictor(folder).predict(texts)
        assert len({each["probability"] for each in expected}) > 20
        for answer, own in zip(found[number :: len(case.folders)], expected, strict=True):
            assert distance(answer, Sentiment(**own)) < 1e-5


@pytest.mark.parametrize(
    "details",
    [
        {"max_length": "long"}, {"max_length": 2}, {"max_length": None}, {"max_length": math.inf}, {"labels": "ab"},
        {"labels": ["one"]}, {"labels": None}, {"task": ["sentiment"]},
    ],
)  # fmt: skip
def test_details_that_make_no_sense_are_refused(case: Case, tmp_path: Path, details: Mapping[str, Any]) -> None:
    with pytest.raises(StoreError, match="is not a saved adapter"):
        case.served.open(changed(case.folders["small"], tmp_path / "changed", **details))


def test_an_adapter_that_would_read_more_than_the_base_reaches(case: Case, tmp_path: Path) -> None:
    """The base has 96 positions, less where they start behind the padding id."""
    served = served_of(case)
    opened = served.open(changed(case.folders["small"], tmp_path / "long", max_length=10_000))
    resident = served.table.put("long", opened)
    under = Under(resident, "w1 " * 500)
    served.admit([under.job])
    finish(served)
    served.table.release(resident)
    assert served.table.drop("long")
    assert isinstance(under.end, Sentiment)


def test_a_base_without_a_fast_tokenizer(toy_bases: dict[str, Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(toy_bases["bert"], base)
    (base / "tokenizer.json").unlink()
    (base / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(BaseModelError, match="has no fast form"):
        make_served(base)


@pytest.fixture(scope="module")
def bert(toy_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Case:
    folders = adapters_of("bert", toy_bases["bert"], tmp_path_factory.mktemp("bert"))
    return Case(lambda: make_served(toy_bases["bert"]), folders, TEXTS, distance, {})


def test_batches_stay_within_the_budget_of_tokens(bert: Case) -> None:
    served = served_of(bert)
    text = "w1 " * 200
    unders = [Under(bert.residents["small"], text) for _ in range(200)]
    served.admit([under.job for under in unders])
    rows, done = [], 0
    while served.busy:
        rows.append(served.step())
        ends = [bool(under.ends) for under in unders]
        done += rows[-1]
        assert ends == [True] * done + [False] * (len(ends) - done), "first come, first served"
    assert set(rows[:-1]) == {TOKENS // MOST}
    assert sum(rows) == 200


def test_many_adapters_with_unequal_stretches_stay_within_the_padded_budget(bert: Case) -> None:
    """One brings all the tokens, and each of the others is padded to as many."""
    served = make_served(bert.served.facts.name)
    opened = served.open(bert.folders["small"])
    residents = [served.table.put(f"a{number}", opened) for number in range(60)]
    long = [Under(residents[0], "w1 " * 200) for _ in range(10)]
    short = [Under(resident, "w1") for resident in residents[1:]]
    served.admit([under.job for under in (*long, *short)])
    assert served.step() == 10 + PADDED // (10 * MOST) - 1
    finish(served)
    assert all(under.ends for under in short)


def test_answers_come_to_those_who_asked(bert: Case) -> None:
    """Whatever the order of adapters and lengths."""
    served = served_of(bert)
    rows = [text for text, _ in toy.make_rows(60, seed=4)]
    orders = [(list(bert.folders)[number * 7 % 3], text) for number, text in enumerate(rows)]
    for order, answer in zip(orders, ask(served, bert, *orders), strict=True):
        assert distance(answer, ask(served, bert, order)[0]) < 1e-5


def test_numbers_that_are_not_finite_are_an_error(bert: Case) -> None:
    served = make_served(bert.served.facts.name)
    resident = served.table.put("a", served.open(bert.folders["small"]))
    resident.scale = math.inf
    under = Under(resident, "w1 good")
    served.admit([under.job])
    finish(served)
    assert isinstance(under.end, EngineError)
    assert not served.sound(Sentiment(0, "negative", math.nan))


def test_half_of_a_character_fails_alone(bert: Case) -> None:
    broken, whole = ask(served_of(bert), bert, ("small", "w1 \ud800"), ("small", "good"))
    assert isinstance(broken, Exception)
    assert distance(whole, bert.alone("small", 0)) < 1e-5


def test_the_base_has_nothing_to_say(bert: Case) -> None:
    served = served_of(bert)
    assert not served.alone
    under = Under(served.table.take_base(), "good")
    served.admit([under.job])
    assert isinstance(under.end, Exception)
    assert not served.busy


@pytest.fixture(scope="module")
def minilm() -> ServedSentiment:
    return make_served("minilm")


def cut_as_trained(served: ServedSentiment, tokenizer: Any, texts: Sequence[str], most: int) -> None:
    """That tokens are those of the tokenizer that training uses, and that the engine of the base stays whole."""
    expected = tokenizer(list(texts), truncation=True, max_length=most)["input_ids"]
    assert served._read(texts, most) == expected


@pytest.fixture(scope="module")
def tokenizer(minilm: ServedSentiment) -> Any:
    from tuner.bases.describe import describe
    from tuner.bases.load import load_tokenizer

    return load_tokenizer(describe("minilm"))


PIECES = [
    "unbelievably",
    "the",
    "鞋",
    "e\u0301",
    "\u200b",
    "\u0301",
    "[SEP]",
    "😀",
    "a" * 150,
    "don't",
    "...",
    "\x1c",
    "١٢",
]
SPACES = [" ", "", "\n", "\t", "\u3000", "  ", "\x85", "\u2028", "\r\n"]


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(st.tuples(st.sampled_from(PIECES) | st.text(max_size=6), st.sampled_from(SPACES)), max_size=12),
    times=st.integers(1, 40),
    most=st.sampled_from([3, 4, 7, 20, 128]),
)
def test_texts_are_cut_as_in_training(
    minilm: ServedSentiment, tokenizer: Any, parts: list[tuple[str, str]], times: int, most: int
) -> None:
    text = "".join(word + space for word, space in parts) * times
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    cut_as_trained(minilm, tokenizer, [text, "in between", text[: len(text) // 2]], most)


def test_texts_of_every_length(minilm: ServedSentiment, tokenizer: Any) -> None:
    for most in (3, 16, 32):
        texts = ["", *(("shoe " * count).strip() for count in range(1, 4 * most))]
        texts += [f"{'x' * count} soles" for count in range(HEAD * most - 9, HEAD * most + 9)]
        texts += ["\u200b" * 3 * HEAD * most + " soles " * count for count in (1, most)]
        texts += ["\u200b\u200b " * HEAD * most + " soles " * count for count in (1, most)]
        cut_as_trained(minilm, tokenizer, texts, most)


@pytest.mark.parametrize("inside", ["\x1c", "\x1f", "\x85", "\u200b", "\u2028", "\u3000", "\t", "\n", " "])
def test_no_text_is_cut_within_a_word(minilm: ServedSentiment, tokenizer: Any, inside: str) -> None:
    """Some characters that Python counts as space are to the tokenizer nothing at all. The last word that is read lies
    across the end of the head."""
    most = 16
    word = "international" + " " * 6
    last = f"inter{inside}national"
    for before in range(HEAD * most - 13 * len(word) - len(last) - 2, HEAD * most - 13 * len(word) + 2):
        text = " " * before + word * (most - 3) + last + " shoe" * 3 * most
        cut_as_trained(minilm, tokenizer, [text], most)


@pytest.mark.parametrize("kind", toy.KINDS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_tokenizers_own_side_is_cut(toy_bases: dict[str, Path], tmp_path: Path, kind: str, side: str) -> None:
    base = tmp_path / "base"
    shutil.copytree(toy_bases[kind], base)
    AutoTokenizer.from_pretrained(base, truncation_side=side).save_pretrained(base)
    served, own = make_served(base), AutoTokenizer.from_pretrained(base)
    assert own.truncation_side == side
    for most in (3, 10, 70):
        cut_as_trained(served, own, [" ".join(WORDS * times) for times in (1, 2, 40)], most)


def test_of_a_text_of_a_megabyte_little_is_read(minilm: ServedSentiment, tokenizer: Any) -> None:
    text = "The sole came off after a week, and nobody answered. " * 20_000
    cut_as_trained(minilm, tokenizer, [text], 256)
    assert HEAD * 128 < len(_head(text, HEAD * 256)) <= HEAD * 256


@pytest.mark.slow
def test_real_reviews_on_the_real_base(minilm: ServedSentiment, tmp_path: Path) -> None:
    params = {
        "few": {"rank": 2, "alpha": 4},
        "many": {"rank": 16, "alpha": 16, "target_modules": toy.EVERYWHERE["bert"]},
        "values": {"rank": 8, "alpha": 8, "target_modules": ["value"]},
    }
    folders = make_adapters("minilm", tmp_path, params, 0.05, data={"max_length": 128})
    splits: Splits = embedded_splits()
    reviews = [row.text for row in splits.test]
    texts = [*reviews[:90], "", "x" * 3000, " ".join(reviews[:50])]
    residents = {name: minilm.table.put(name, minilm.open(folder)) for name, folder in folders.items()}
    unders = {(name, text): Under(residents[name], text) for text in texts for name in folders}
    minilm.admit([under.job for under in unders.values()])
    finish(minilm)
    for name, folder in folders.items():
        expected = SentimentPredictor(folder).predict(texts)
        assert len({round(each["probability"], 3) for each in expected}) > 20
        for text, own in zip(texts, expected, strict=True):
            assert distance(unders[name, text].end, Sentiment(**own)) < 1e-5
