"""Pictures for many adapters at once: each is what its adapter draws alone, whoever else is under way."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tasks.fashion import toy
from tests.tasks.fashion.served import Drawer, closest, make_adapters, make_served
from tests.tasks.served_contract import Case, ServedContract, Under, changed
from tuner.bases.diffusion import describe_diffusion
from tuner.errors import DataError, EngineError, StoreError
from tuner.tasks.fashion.asking import DrawnPicture, PictureAsk
from tuner.tasks.fashion.predict import FashionPredictor
from tuner.tasks.fashion.under_way import Order, UnderWay

NAMES = ("attention", "convolutions", "words", "everywhere", "prompts")
FEW = PictureAsk("a red dress", seed=1, steps=3)


@pytest.fixture(scope="module")
def adapters(base: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_adapters(base, clip, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def drawer(base: Path, adapters: dict[str, Path]) -> Drawer:
    return Drawer(base, adapters)


ASKS = [
    PictureAsk("a red dress", seed=1, steps=2),
    PictureAsk("a hat", negative_prompt="blurry", seed=2, steps=1, guidance=1.0),
    PictureAsk("blue trousers on a chair", seed=3, steps=2, side=36, guidance=1.0),
]


@pytest.fixture(scope="module")
def case(base: Path, adapters: dict[str, Path], clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("contract")
    packing = toy.make_packing(toy.make_base(folder / "wide", widths=(8, 24)), clip)
    packing.start(toy.make_spec())
    told = {"base_model": str(base), "checksum": describe_diffusion(str(base)).checksum}
    foreign = {
        "of another base": changed(adapters["attention"], folder / "other", base_model="garment_sd"),
        "of another task": changed(adapters["attention"], folder / "task", task="shoe_qa"),
        "of other sizes": changed(toy.save(packing, folder / "of wide"), folder / "sizes", **told),
    }
    folders = {name: path for name, path in adapters.items() if name != "convolutions"}  # "everywhere" has some too
    return Case(lambda: make_served(base), folders, ASKS, distance, foreign)


def distance(one: Any, other: Any) -> float:
    """In levels of brightness; one is a matter of rounding."""
    if not (isinstance(one, DrawnPicture) and isinstance(other, DrawnPicture)):
        return math.inf
    told, others = ((x.picture.shape, x.seed, x.steps, x.prompt, x.unread, x.tokens) for x in (one, other))
    return max(0.0, float(np.abs(one.picture.astype(int) - other.picture).max()) - 1) if told == others else math.inf


class TestContract(ServedContract):
    """Pictures."""


def mixed() -> list[tuple[str, PictureAsk]]:
    """Requests of every adapter and the base, no two alike."""
    chance = random.Random(5)
    return [
        (
            name,
            PictureAsk(
                chance.choice(["a red dress", "a hat", "blue trousers on a chair"]),
                negative_prompt=chance.choice([None, "", "blurry"]),
                seed=number,
                steps=chance.randint(1, 6),
                side=chance.choice([None, 32, 48]),
                guidance=chance.choice([None, 1.0, 3.0]),
            ),
        )
        for number, name in enumerate([*NAMES, "", *NAMES, ""])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_what_the_folder_draws(drawer: Drawer, adapters: dict[str, Path], name: str) -> None:
    predictor = FashionPredictor(adapters[name])
    for prompt, seed in (("a red dress", None), ("a hat", 7)):
        found = drawer.draw((name, PictureAsk(prompt, seed=seed)))[0]
        wanted = predictor.draw(prompt, seed).astype(int)
        assert np.abs(found.picture.astype(int) - wanted).max() <= 1
        plain = drawer.draw(("", PictureAsk(prompt, seed=found.seed, steps=3, guidance=predictor.guidance)))[0]
        assert np.abs(plain.picture.astype(int) - wanted).max() > 1, "the adapter has changed it"


def test_the_base_alone_is_that_of_diffusers(drawer: Drawer, base: Path) -> None:
    from tuner.tasks.fashion.sampling import make_scheduler

    pipe = toy.plain_pipeline(base)
    pipe.scheduler = make_scheduler(pipe.scheduler.config)
    wanted = toy.drawn_by(pipe, "a hat", 4, guidance_scale=7.5, negative_prompt="") * 255
    found = drawer.draw(("", PictureAsk("a hat", seed=4, steps=3)))[0]
    assert np.abs(found.picture - wanted.round()).max() <= 1
    assert (found.prompt, found.seed, found.steps) == ("a hat", 4, 3)


def test_who_joins_and_leaves_midway_changes_nothing(drawer: Drawer) -> None:
    orders = mixed()
    alone = [drawer.latent(*order) for order in orders]
    drawer.shown.clear()
    chance = random.Random(2)
    waiting, left = list(orders), 0
    while waiting or drawer.served.busy:
        if waiting and chance.random() < 0.6:
            drawer.job(*waiting.pop())
        if chance.random() < 0.3:
            drawer.job(chance.choice(NAMES), PictureAsk("nobody waits", steps=50)).job.cancelled = True
            left += 1
        drawer.served.step()
    together = list(drawer.shown)
    assert left > 1
    assert sum(len(batch) for batch in together) == len(orders)
    assert all(closest(latent, together) < 1e-5 for latent in alone)


def test_a_step_moves_every_picture_of_one_size_in_one_forward(drawer: Drawer) -> None:
    unguided = PictureAsk("a hat", guidance=1.0, steps=2)
    drawer.served.admit(
        [Under(drawer.residents[name], ask).job for name in ("words", "", "everywhere") for ask in (FEW, unguided)]
        + [Under(drawer.residents["attention"], PictureAsk("a hat", side=64, steps=2)).job]
    )
    assert drawer.run() == [9, 2, 9, 2, 6]  # the sizes in turns; three have two rows, three have one


def test_more_pictures_than_fit_a_forward_take_several(drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [(name, PictureAsk("a hat", seed=seed, steps=2)) for seed, name in enumerate([*NAMES, ""])]
    alone = [drawer.latent(*order) for order in orders]
    drawing = drawer.served._drawing(toy.SIDE)
    monkeypatch.setattr(drawing, "positions", 4 * drawing.side**2)
    monkeypatch.setattr(drawing, "decoded", 1)
    drawer.shown.clear()
    drawer.draw(*orders)
    assert all(closest(latent, drawer.shown) < 1e-5 for latent in alone)


def test_a_denoising_step_reads_no_text(drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    base = drawer.served.denoiser.base
    read: list[int] = []
    encode = base.encode

    def counted(ids: torch.Tensor) -> torch.Tensor:
        read.append(len(ids))
        return encode(ids)

    monkeypatch.setattr(base, "encode", counted)
    ask = PictureAsk("words that are new", steps=2, negative_prompt="and these")
    names = ["attention", "convolutions", "", "words", "everywhere"]
    drawer.served.admit([Under(drawer.residents[name], ask).job for name in names])
    assert read == [2, 4], "the base's once for all who leave the encoder as it is, the others' in one forward"
    drawer.run()
    drawer.draw(*((name, ask) for name in names))
    assert read == [2, 4]


def test_a_forward_carries_what_its_own_adapters_need_and_no_more(drawer: Drawer) -> None:
    resident = drawer.residents["attention"]
    drawer.job("attention", FEW)
    drawer.job("words", FEW)
    drawer.served.step()
    layout = drawer.served._packs[toy.SIDE][1].store.layout
    assert ({site.name for site in layout.sites}, layout.rank) == (resident.shape.targets, 8)
    drawer.run()
    assert not drawer.served._packs, "nothing is held when nothing is drawn"


def test_progress_is_told_step_by_step(drawer: Drawer) -> None:
    under = drawer.job("words", FEW)
    drawer.run()
    assert under.pieces == [(1, 3), (2, 3), (3, 3)]
    assert len(under.ends) == 1


def test_numbers_that_are_not_finite_end_their_own_picture_alone(base: Path, adapters: dict[str, Path]) -> None:
    drawer = Drawer(base, adapters)
    wanted = drawer.latent("attention", FEW)
    table = drawer.served.table
    table._rows.average[drawer.residents["convolutions"].row] = torch.nan
    drawer.shown.clear()
    broken, whole = drawer.draw(("convolutions", FEW), ("attention", FEW))
    assert isinstance(broken, EngineError)
    assert isinstance(whole, DrawnPicture)
    assert closest(wanted, drawer.shown) < 1e-5


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (PictureAsk("a", side=42), "size = '42x42': a side must be a multiple of 4 from 32 to 64 pixels"),
        (PictureAsk("a", side=8), "Ask for 32x32"),
        (PictureAsk("a", side=128), "Ask for 64x64"),
        (PictureAsk("a", steps=0), "steps = 0: must be from 1 to 100"),
        (PictureAsk("a", seed=-1), "seed = -1"),
        (PictureAsk("a", guidance=0.5), "guidance = 0.5: must be from 1, for none, to 50"),
        (PictureAsk("a", guidance=float("nan")), "guidance = nan"),
    ],
)
def test_an_ask_beyond_the_limits_ends_alone(drawer: Drawer, ask: PictureAsk, words: str) -> None:
    refused, drawn = drawer.draw(("words", ask), ("words", FEW))
    assert isinstance(refused, DataError)
    assert words in str(refused)
    assert isinstance(drawn, DrawnPicture)


def test_a_picture_that_cannot_begin_ends_alone(drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = drawer.served._begun

    def failing(order: Order, texts: torch.Tensor) -> UnderWay:
        if order.seed == 7:
            raise MemoryError("no room for a latent")
        return begun(order, texts)

    monkeypatch.setattr(drawer.served, "_begun", failing)
    first, lost, last = drawer.draw(("words", FEW), ("words", PictureAsk("a hat", seed=7)), ("", FEW))
    assert isinstance(lost, MemoryError)
    assert isinstance(first, DrawnPicture)
    assert isinstance(last, DrawnPicture)


def test_an_error_among_finished_pictures_ends_each_once(drawer: Drawer, monkeypatch: pytest.MonkeyPatch) -> None:
    show, calls = drawer.served.denoiser.base.pictures, iter(range(9))

    def failing(latents: torch.Tensor) -> torch.Tensor:
        if next(calls) == 1:
            raise RuntimeError("the device is gone")
        return show(latents)

    monkeypatch.setattr(drawer.served.denoiser.base, "pictures", failing)
    monkeypatch.setattr(drawer.served._drawing(toy.SIDE), "decoded", 0)
    jobs = [drawer.job("", PictureAsk("a hat", seed=seed, steps=1)) for seed in range(3)]
    with pytest.raises(RuntimeError) as caught:
        drawer.served.step()
    drawer.served.abandon(caught.value)
    assert isinstance(jobs[0].end, DrawnPicture)
    assert [each.end for each in jobs[1:]] == [caught.value] * 2


def test_what_is_not_read_of_a_prompt_is_told(drawer: Drawer) -> None:
    found = drawer.draw(("words", PictureAsk("a dress with so many buttons", steps=1)), ("", FEW))
    assert (found[0].unread, found[0].tokens) == ("many buttons", 16)
    assert (found[1].unread, found[1].tokens) == ("", len("areddress") + 2)


def test_found_prompts_change_the_prompt(drawer: Drawer, adapters: dict[str, Path]) -> None:
    predictor = FashionPredictor(adapters["prompts"])
    assert predictor.common
    found = drawer.draw(("prompts", FEW))[0]
    assert found.prompt.startswith("a red dress, ")
    assert found.prompt.endswith("high quality, sharp")


def test_one_grey_is_not_sound(drawer: Drawer) -> None:
    grey = DrawnPicture(np.full((32, 32, 3), 7, np.uint8), 1, 2, "a dress", "", 3)
    assert not drawer.served.sound(grey)


def test_facts_are_those_of_the_base(drawer: Drawer, base: Path) -> None:
    facts = drawer.served.facts
    assert (facts.name, facts.revision, facts.languages) == (str(base), None, ("en",))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base_model": "garment_sd"}, "is of the base garment_sd, and "),
        ({"revision": "0" * 40}, "is of the base"),
        ({"checksum": "0" * 64}, "was trained on another"),
        ({"resolution": 30}, "cannot draw: 3 steps at 30 pixels"),
        ({"resolution": math.inf}, "is not a saved adapter"),
        ({"inference_steps": 0}, "cannot draw: 0 steps"),
        ({"inference_steps": 10**9}, "cannot draw: 1000000000 steps"),
        ({"guidance": math.nan}, "guidance nan"),
        ({"task": "sentiment"}, "it is one of the task sentiment"),
        ({"guidance": []}, "is not a saved adapter"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(
    drawer: Drawer, adapters: dict[str, Path], tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = changed(adapters["words"], tmp_path / "copy", **changes)
    with pytest.raises(StoreError) as caught:
        drawer.served.open(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_fine_tune_is_refused_with_the_way_out(drawer: Drawer, base: Path, clip: Path, tmp_path: Path) -> None:
    packing = toy.make_packing(base, clip, space={"train": "full"})
    packing.start(toy.make_spec("a", train="full"))
    folder = toy.save(packing, tmp_path / "adapter")
    with pytest.raises(StoreError, match=r"a full fine-tune, a base of its own: serve .* as base_model"):
        drawer.served.open(folder)


def test_a_full_fine_tune_serves_as_a_base(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = toy.make_packing(base, clip, space={"train": "full"})
    packing.start(toy.make_spec("a", train="full"))
    toy.far(packing, 0.05)
    folder = toy.save(packing, tmp_path / "adapter")
    drawer = Drawer(folder / "fashion_sd_model", {})
    found = drawer.draw(("", PictureAsk("a hat", seed=7, steps=3, guidance=2.0)))[0]
    wanted = FashionPredictor(folder).draw("a hat", 7)
    assert np.abs(found.picture.astype(int) - wanted.astype(int)).max() <= 1


def test_words_that_a_cache_keeps_are_the_adapter_s_own(base: Path, adapters: dict[str, Path]) -> None:
    drawer = Drawer(base, {})
    table = drawer.served.table
    for folder in (adapters["words"], adapters["everywhere"]):
        drawer.residents["x"] = table.put("x", drawer.served.open(folder))
        found = drawer.draw(("x", PictureAsk("a hat", seed=3)))[0]
        assert np.abs(found.picture.astype(int) - FashionPredictor(folder).draw("a hat", 3).astype(int)).max() <= 1
        table.release(drawer.residents["x"])
        assert table.drop("x"), "another adapter comes back under its key"
