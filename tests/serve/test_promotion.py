"""From a study to a version: what is refused, what it says of its origin, and the canary."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from serve.promotion import NotSoundError, Source, canary, check_fits, origin_of, promote, winner_of
from tests.cli.samples import record
from tests.serve.studies import make_study, move_base
from tests.serve.toy import Adapters
from tuner import tasks
from tuner.errors import BaseModelError, ConfigError, StudyError
from tuner.registry import AdapterName, Registry, Target

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
NAME = AdapterName("sentiment", "reviews")


def test_a_winner_is_published(adapters: Adapters, tmp_path: Path) -> None:
    folder, study = make_study(tmp_path, adapters)
    registry = Registry(tmp_path / "registry")
    done = promote(registry, study, winner_of(folder, study), NAME, "champion", "http:ci")
    registry.verify(done.version)
    assert (
        done.answer == tasks.spec("sentiment").predictor(folder / "best").predict([tasks.spec("sentiment").example])[0]
    )
    assert (done.before, done.base_model) == (None, str(adapters.base))
    origin = done.version.manifest.origin
    assert (origin.study, origin.trial, origin.project_version) == ("first", "t002", "0.9")
    assert (origin.metrics["accuracy"], origin.metrics["score"]) == (0.86, 0.8012)
    again = promote(registry, study, winner_of(folder, study), NAME, "champion", "http:ci")
    assert again.version.version == done.version.version
    assert again.before == Target.of({done.version.version: 1})


def test_another_source_than_the_winner(adapters: Adapters, tmp_path: Path) -> None:
    _, study = make_study(tmp_path, adapters)
    source = Source(adapters.folders[1], "t000", {"rank": 3}, {"score": 0.5})
    origin = promote(Registry(tmp_path / "registry"), study, source, NAME, "x", "cli:a").version.manifest.origin
    assert (origin.trial, origin.params, origin.metrics) == ("t000", {"rank": 3}, {"score": 0.5})


def test_what_does_not_fit_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check_fits(record(), AdapterName("shoe_qa", "x"), "t9")
    assert [problem.name for problem in caught.value.problems] == ["name", "trial"]
    assert "Name it sentiment/x." in str(caught.value)
    check_fits(record(), NAME, "t000")


def test_a_study_without_a_winner(adapters: Adapters, tmp_path: Path) -> None:
    folder, study = make_study(tmp_path, adapters)
    with pytest.raises(StudyError, match="study reviews is running and has no best adapter yet"):
        winner_of(folder, record())
    shutil.rmtree(folder / "best")
    with pytest.raises(StudyError, match="has no best adapter yet"):
        winner_of(folder, study)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_an_adapter_that_does_not_say_its_base(adapters: Adapters, tmp_path: Path, content: str) -> None:
    folder, study = make_study(tmp_path, adapters)
    (folder / "best" / "tuner.json").write_text(content)
    with pytest.raises(NotSoundError, match=r"tuner\.json cannot be read"):
        origin_of(winner_of(folder, study), study)


def test_the_base_that_it_was_trained_on(adapters: Adapters, tmp_path: Path) -> None:
    folder, study = make_study(tmp_path, adapters)
    path = folder / "best" / "tuner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "checksum": "as it was", "revision": "v1"}))
    origin = origin_of(winner_of(folder, study), replace(study, base_model="another"))
    assert (origin.base_model, origin.base_checksum, origin.revision) == (str(adapters.base), "as it was", "v1")


def test_a_refused_adapter_leaves_the_registry_as_it_was(adapters: Adapters, tmp_path: Path) -> None:
    folder, study = make_study(tmp_path / "results", adapters)
    registry = Registry(tmp_path / "registry")

    def refused(error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            promote(registry, study, winner_of(folder, study), NAME, "champion", "cli:a")
        assert not registry.state().adapters
        assert not list(registry.path.glob("versions/*/*/*"))

    with pytest.raises(ConfigError, match="alias"):
        promote(registry, study, winner_of(folder, study), NAME, "../x", "cli:a")
    with pytest.raises(ConfigError, match="Name it sentiment/reviews"):
        promote(registry, study, winner_of(folder, study), AdapterName("shoe_qa", "reviews"), "x", "cli:a")
    weights = folder / "best" / "adapter_model.safetensors"
    save_file({name: value * float("nan") for name, value in load_file(weights).items()}, weights)
    refused(NotSoundError, "does not answer")
    save_file({name: value[..., :1].contiguous() for name, value in load_file(weights).items()}, weights)
    refused(NotSoundError, "does not fit its base")
    move_base(folder, tmp_path / "gone")
    refused(BaseModelError, "gone")


def test_the_canary_is_the_tasks_own_predictor(adapters: Adapters) -> None:
    spec = tasks.spec("sentiment")
    answers: list[dict[str, object]] = []
    canary(spec, answers)(adapters.folders[0])
    assert answers == spec.predictor(adapters.folders[0]).predict([spec.example])
    with pytest.raises(NotSoundError, match="not a saved adapter"):
        canary(spec, answers)(adapters.folders[0].parent)
    assert len(answers) == 1
