"""`tuner tune fashion --mode pipeline` with the real engine on a toy base: two studies, four ways, one advice."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.tasks.fashion import toy
from tuner.cli import study_options
from tuner.cli.main import main, verb_parser
from tuner.config import StudyConfig
from tuner.errors import DataError, StudyError
from tuner.store.files import read_study
from tuner.tasks.fashion.comparison import COLUMNS, TITLES
from tuner.tasks.fashion.judge import PictureJudge
from tuner.tasks.fashion.pipeline import Pipeline
from tuner.tasks.fashion.predict import FashionPredictor
from tuner.tasks.fashion.prompts import PromptPlan
from tuner.tasks.fashion.samples import LEAST
from tuner.tasks.fashion.settings import settings_of

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SEARCH = {"trials": 2, "reports_per_epoch": 1, "asha": None, "top_k": 1, "top_k_seeds": 1}
MEASURED = ("ssim", "fashion_clip", "fashion_clip_embedding", "colour", "total_loss")
DATA = {"train_samples": 24, "validation_samples": 3, "test_samples": 4}


def pipeline_config(base: Path, clip: Path, results: Path, **changes: Any) -> StudyConfig:
    space = {"mode": "pipeline", "rank": {"type": "choice", "values": [2, 4]}, "learning_rate": 1e-2}
    content = {"name": "p", "data": DATA, "results": str(results), "search": SEARCH, "space": space, **changes}
    return toy.make_config(base, clip, **content)


def prompt_space(mode: str) -> StudyConfig:
    strategy = {"type": "choice", "values": ["detailed", "caption_plus", "minimal"]}
    space = {"mode": "prompt", "rank": 1, "learning_rate": 1e-3, "epochs": 1, "strategy": strategy}
    return StudyConfig.model_validate({"task": "fashion", "base_model": "x", "space": space, "search": SEARCH})


@pytest.fixture(scope="module")
def spaces(base: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The two search spaces of the toy world, in place of those that come along."""
    from tuner.config_file import config_to_yaml

    folder = tmp_path_factory.mktemp("spaces")
    (folder / "fashion").mkdir()
    configs = {
        "garment_prompt": prompt_space("prompt"),
        "garment_pipeline": pipeline_config(base, clip, Path("results")).model_copy(update={"name": None}),
    }
    for name, config in configs.items():
        (folder / "fashion" / f"{name}.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(study_options, "SPACES", folder)
        # toys are too small for two threads, which on a busy machine wait for each other
        patched.setattr("tuner.study.in_process.cores", lambda: 1)
        yield folder


def tune(results: Path) -> int:
    given = ["tune", "fashion", "--mode", "pipeline", "--name", "p", "--in-process", "--quiet"]
    return main([*given, "--results", str(results)])


@pytest.fixture(scope="module")
def results(spaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a pipeline at its end."""
    folder = tmp_path_factory.mktemp("results")
    assert tune(folder) == 0
    return folder


@pytest.fixture(scope="module")
def compared(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "p" / "comparison.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_four_ways_are_measured(results: Path, compared: dict[str, Any]) -> None:
    assert list(compared["ways"]) == list(TITLES)
    for way in compared["ways"].values():
        assert set(way) == {"title", "command", *COLUMNS}
        assert all(isinstance(way[key], float) for key in COLUMNS)
        assert way["seconds_per_picture"] > 0
        assert way["peak_memory_mb"] > 50
    assert compared["rows"] == len(compared["pictures"]) == 4
    assert compared["studies"] == {"prompt": "p-prompt", "finetune": "p-finetune"}
    assert compared["memory"] == "process"
    costs = [(way["trained_mb"] > 0, way["training_seconds"] > 0) for way in compared["ways"].values()]
    assert costs == [(False, False), (False, False), (True, True), (True, True)]
    searched = [way["search_seconds"] for way in compared["ways"].values()]
    assert 0 == searched[0] < searched[1] < searched[2] == searched[3]
    with Image.open(results / "p" / "comparison.png") as sheet:
        assert sheet.height > 4 * 160


@pytest.mark.slow
def test_lora_scores_as_its_study_measured_it(results: Path, compared: dict[str, Any]) -> None:
    winner = read_study(results / "p-finetune").winner
    assert winner is not None
    for name in MEASURED:
        assert compared["ways"]["lora"][name] == pytest.approx(winner.test[name], abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("way", list(TITLES))
def test_a_way_scores_as_what_its_command_draws(
    results: Path, base: Path, clip: Path, compared: dict[str, Any], way: str
) -> None:
    data = Pipeline(pipeline_config(base, clip, results), prompt_space).data
    folder = {
        "base": results / "p" / "base",
        "prompt": results / "p-prompt" / "best",
        "lora": results / "p-finetune" / "best",
        "both": results / "p" / "both",
    }[way]
    predictor = FashionPredictor(folder)
    judge = PictureJudge(predictor.judge.clip, settings_of(pipeline_config(base, clip, results)).similarity)
    pictures = [predictor.draw(row.caption) for row in data.test]
    means = judge.means(judge.compare([row.pixels() for row in data.test], pictures, "test"))
    for name in MEASURED:
        assert compared["ways"][way][name] == pytest.approx(means[name], abs=5e-3)


@pytest.mark.slow
def test_the_config_says_how_losses_are_weighed(results: Path, base: Path, clip: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(results, tmp_path / "results")
    weights = {"visual": 0.9, "fashion": 0.05, "color": 0.05}
    config = pipeline_config(base, clip, copied, benchmark={"weights": weights})
    found = Pipeline(config, prompt_space).compare(read_study(copied / "p-prompt"), read_study(copied / "p-finetune"))
    for way in found.ways:
        parts = (way.values["ssim"], way.values["fashion_clip"], way.values["colour"])
        wanted = sum(weight * (1 - part) for weight, part in zip(weights.values(), parts, strict=True))
        assert way.values["total_loss"] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
def test_the_second_study_learns_from_the_samples(results: Path) -> None:
    first, second = read_study(results / "p-prompt"), read_study(results / "p-finetune")
    told = json.loads((results / "p" / "samples.json").read_text(encoding="utf-8"))
    kept = [each for each in told["samples"] if each["kept"]]
    shown = first.data["splits"]["train"]["total_samples"]
    assert sum(each["repeats"] for each in told["samples"]) == shown
    assert LEAST <= len(kept) < len(told["samples"])
    lines = (results / "p" / "samples" / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == [each["prompt"] for each in kept]
    assert second.data["splits"]["train"]["total_samples"] == sum(each["repeats"] for each in kept)
    assert second.data["splits"]["test"]["total_samples"] == 4
    assert first.data["trains"] is False
    assert second.data["mode"] == "finetune"
    assert told["plan"]["strategy"] == first.winner.params["strategy"]  # type: ignore[union-attr]


@pytest.mark.slow
def test_every_command_can_be_typed(results: Path, compared: dict[str, Any]) -> None:
    for way in compared["ways"].values():
        words = shlex.split(way["command"])
        assert words[:3] == ["tuner", "predict", "fashion"]
        verb_parser("predict").parse_args(words[2:])
    assert compared["recommendation"].endswith(compared["ways"][compared["best"]]["command"])


@pytest.mark.slow
def test_again_under_the_same_name_nothing_is_trained(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [results / name / "study.json" for name in ("p-prompt", "p-finetune")]
    files.append(results / "p" / "samples" / "train" / "metadata.jsonl")
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert tune(results) == 0
    assert "Use " in capsys.readouterr().out
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before


@pytest.mark.slow
def test_samples_of_another_winner_do_not_fit_a_study_that_has_begun(results: Path, base: Path, clip: Path) -> None:
    record = read_study(results / "p-prompt")
    assert record.winner is not None
    other = next(each for each in ("minimal", "caption_plus") if each != record.winner.params["strategy"])
    changed = replace(record, winner=replace(record.winner, params={**record.winner.params, "strategy": other}))
    pipeline = Pipeline(pipeline_config(base, clip, results), prompt_space)
    before = sorted((results / "p").rglob("*"))
    with pytest.raises(StudyError, match="Choose another --name"):
        pipeline.hand_over(changed, fixed=True)
    assert sorted((results / "p").rglob("*")) == before
    assert pipeline.hand_over(record, fixed=True)


def test_too_few_pictures_are_refused_before_any_study(base: Path, clip: Path, tmp_path: Path) -> None:
    config = pipeline_config(base, clip, tmp_path, data={**DATA, "train_samples": 3})
    with pytest.raises(DataError, match="at least 4 pictures"):
        Pipeline(config, prompt_space)


def test_a_picture_goes_with_its_own_prompt(base: Path, clip: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(pipeline_config(base, clip, tmp_path), prompt_space)
    samples = pipeline._samples(PromptPlan("caption_plus"))
    assert [(each.row.name, each.row.caption) for each in samples] == [
        (row.name, row.caption) for row in dict.fromkeys(pipeline.data.train)
    ]
    assert all(each.prompt.startswith(each.row.caption) for each in samples)
    assert all(-1 <= each.similarity <= 1 for each in samples)
    assert len({each.similarity for each in samples}) > 12
    same = pipeline._samples(PromptPlan("detailed"))
    assert len(same) == len({row.png for row in pipeline.data.train}) < len(samples)
    assert sum(each.row.repeats for each in same) == len(pipeline.data.train)
