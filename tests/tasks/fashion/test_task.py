"""The task on a device: pictures and losses in a pack, against the same alone and against plain diffusers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.fashion import toy
from tuner.tasks.fashion.sampling import make_scheduler, seed_of

PROMPTS = ["a red dress", "a blue hat"]


def draw(packing, *ids, prompts=PROMPTS, guidance=2.0):
    members = max(len(ids), 1)
    pack = toy.pack_of(packing, *ids)
    return packing.task.drawing.draw(pack, [prompts] * members, "", [guidance] * members)


def close(ours, theirs, levels: int = 1) -> None:
    """Pictures of uint8 that differ by rounding at most."""
    assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).max() <= levels


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_base_draws_what_a_plain_pipeline_draws(base: Path, clip: Path, guidance: float) -> None:
    packing = toy.make_packing(base, clip)
    found = draw(packing, guidance=guidance)[0]
    pipe = toy.plain_pipeline(base)
    pipe.scheduler = make_scheduler(pipe.scheduler.config)
    for prompt, picture in zip(PROMPTS, found, strict=True):
        wanted = toy.drawn_by(pipe, prompt, seed_of(prompt), guidance_scale=guidance)
        close(picture, (wanted * 255).round())


@pytest.mark.parametrize("train", ["lora", "full"])
def test_a_pack_draws_what_each_draws_alone(base: Path, clip: Path, train: str) -> None:
    packing = toy.make_packing(base, clip, space={"train": train})
    packing.start(toy.make_spec("a", target_modules=toy.EVERYWHERE, alpha=8, train=train))
    packing.start(toy.make_spec("b", seed=2, rank=7, train=train))
    toy.far(packing, 0.3 if train == "lora" else 0.05)
    together = draw(packing, "a", "b")
    for member, name in enumerate("ab"):
        alone = draw(packing, name)[0]
        for ours, theirs in zip(together[member], alone, strict=True):
            close(ours, theirs)
    bare = draw(packing)[0]
    assert np.abs(together[0][0].astype(int) - bare[0]).mean() > 1
    assert np.abs(together[1][0].astype(int) - bare[0]).mean() > 1


def test_what_is_trained_in_a_pack_is_what_is_trained_alone(base: Path, clip: Path) -> None:
    def train(*ids: str) -> dict[str, torch.Tensor]:
        packing = toy.make_packing(base, clip)
        specs = {
            "a": toy.make_spec("a", batch_size=3, dropout=0.3, target_modules=toy.EVERYWHERE, snr_gamma=5.0),
            "b": toy.make_spec("b", seed=2, rank=6, batch_size=2, offset_noise=0.1),
        }
        for name in ids:
            packing.start(specs[name])
        for _ in range(5):
            packing.step(list(ids))
        return packing.store.tensors(packing.trials["a"].slot)

    alone, together = train("a"), train("b", "a")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert any(name.startswith("text_encoder.") and value.abs().max() > 0 for name, value in alone.items()
               if name.endswith(".B"))  # fmt: skip


@pytest.mark.parametrize("train", ["lora", "full"])
def test_training_lowers_the_loss(base: Path, clip: Path, train: str) -> None:
    packing = toy.make_packing(base, clip, space={"train": train})
    packing.start(toy.make_spec("a", epochs=40, learning_rate=3e-3, batch_size=10, train=train))
    before = packing.report(["a"])[0].metrics
    for _ in range(40):
        packing.step(["a"])
    after = packing.report(["a"])[0].metrics
    assert after["validation_loss"] < before["validation_loss"]
    assert 0 < before["score"] <= 1


def test_a_checkpoint_goes_on_as_if_nothing_had_been(base: Path, clip: Path) -> None:
    first = toy.make_packing(base, clip)
    first.start(toy.make_spec("a", epochs=4))
    for _ in range(2):
        first.step(["a"])
    data = first.checkpoint("a")
    second = toy.make_packing(base, clip)
    second.start(toy.make_spec("a", epochs=4), data)
    for packing in (first, second):
        packing.step(["a"])
    ours, theirs = (packing.store.tensors(packing.trials["a"].slot) for packing in (first, second))
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_evaluation_of_a_pack_is_that_of_each(base: Path, clip: Path) -> None:
    packing = toy.make_packing(base, clip)
    packing.start(toy.make_spec("a"))
    packing.start(toy.make_spec("b", seed=4, guidance=4.0))
    toy.far(packing)
    together = packing.task.evaluate(toy.pack_of(packing, "a", "b"), "test")
    alone = [packing.task.evaluate(toy.pack_of(packing, name), "test")[0] for name in "ab"]
    for ours, theirs in zip(together, alone, strict=True):
        for name in ours.keys() - toy.CLOCKS:
            assert ours[name] == pytest.approx(theirs[name], abs=2e-3), name
    assert {"ssim", "fashion_clip", "fashion_clip_category", "fashion_clip_embedding", "colour", "total_loss",
            "test_loss"} <= together[0].keys()  # fmt: skip


def test_the_config_chooses_which_similarity_counts(base: Path, clip: Path) -> None:
    for form in ("category", "embedding"):
        packing = toy.make_packing(base, clip, space={"similarity": form})
        packing.start(toy.make_spec("a"))
        found = packing.task.evaluate(toy.pack_of(packing, "a"), "validation")[0]
        assert found["fashion_clip"] == found[f"fashion_clip_{form}"]


def test_outputs_hold_the_pictures_and_what_the_base_makes(base: Path, clip: Path) -> None:
    packing = toy.make_packing(base, clip)
    packing.start(toy.make_spec("a"))
    toy.far(packing)
    found = packing.task.outputs(toy.pack_of(packing, "a"), "test", 3)
    assert [item.name for item in found] == ["image_1", "image_2", "image_3"]
    row = packing.task.held_out["test"][0]
    assert found[0].input == row.caption
    assert found[0].pictures["expected"][:4] == b"\x89PNG"
    assert set(found[0].pictures) == {"expected", "adapter", "base"}
    assert found[0].metrics.keys() == found[0].base_metrics.keys() >= {"ssim", "fashion_clip", "colour", "total_loss"}


@pytest.mark.parametrize("targets", [None, toy.EVERYWHERE, ["conv1", "to_q"]])
def test_a_saved_adapter_draws_the_same_in_a_plain_pipeline(
    base: Path, clip: Path, tmp_path: Path, targets: list[str] | None
) -> None:
    packing = toy.make_packing(base, clip)
    packing.start(toy.make_spec("a", rank=3, alpha=7, target_modules=targets))
    toy.far(packing)
    folder = toy.save(packing, tmp_path / "adapter")
    pipe = toy.plain_pipeline(base)
    pipe.scheduler = make_scheduler(pipe.scheduler.config)
    pipe.load_lora_weights(str(folder))
    ours = draw(packing, "a")[0]
    for prompt, picture in zip(PROMPTS, ours, strict=True):
        wanted = toy.drawn_by(pipe, prompt, seed_of(prompt), guidance_scale=2.0)
        close(picture, (wanted * 255).round())
    predictor = packing.task.predictor(folder)
    close(predictor.draw(PROMPTS[0]), ours[0])
    assert predictor.predict(PROMPTS)[0]["answer"] == packing.task.judge.names([ours[0]])[0]
    assert np.abs(predictor.draw(PROMPTS[0], seed=5).astype(int) - ours[0]).mean() > 1


def test_a_full_fine_tune_is_saved_as_a_pipeline(base: Path, clip: Path, tmp_path: Path) -> None:
    packing = toy.make_packing(base, clip, space={"train": "full"})
    packing.start(toy.make_spec("a", train="full"))
    toy.far(packing, 0.05)
    folder = toy.save(packing, tmp_path / "adapter")
    ours = draw(packing, "a")[0]
    pipe = toy.plain_pipeline(folder / "fashion_sd_model")
    for prompt, picture in zip(PROMPTS, ours, strict=True):
        wanted = toy.drawn_by(pipe.to(torch.float32), prompt, seed_of(prompt), guidance_scale=2.0)
        close(picture, (wanted * 255).round(), levels=4)  # it is kept in fp16
    close(packing.task.predictor(folder).draw(PROMPTS[0]), ours[0], levels=4)
