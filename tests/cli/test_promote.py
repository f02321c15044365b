"""`tuner promote`: a real small adapter is checked, asked and published; what does not answer is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from serve.audit import FILE, verify
from serve.promotion import canary
from tests.cli.samples import finished, record, save
from tests.engine import toy
from tests.engine.fixtures import one_thread, toy_bases  # noqa: F401
from tests.study.test_export import run, searched
from tuner import tasks
from tuner.cli.main import main
from tuner.cli.registry import user
from tuner.errors import StoreError
from tuner.registry import AdapterName, Alias, Reference, Registry, Target

# PEFT asks transformers for a name that it will drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
NAME = AdapterName("sentiment", "reviews")


@pytest.fixture(scope="module")
def saved(toy_bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """An adapter as a study of a toy base saves it."""
    packing = toy.make_packing(toy_bases["bert"])
    packing.start(toy.make_spec("a"))
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    packing.task.save(folder, *packing.adapter("a", "last"))
    return folder


@pytest.fixture
def studies(saved: Path, toy_bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A results folder with two finished studies of one adapter, and one that runs."""
    monkeypatch.chdir(tmp_path)
    for study in (finished("first", 1.0), finished("second", 2.0), record("third", 3.0)):
        study = replace(study, base_model=str(toy_bases["bert"]), versions={"lora-tuner": "0.9"})
        folder = save(Path("results"), study, adapter=False)
        if study.winner is not None:
            shutil.copytree(saved, folder / "best")
    return tmp_path


def registry() -> Registry:
    return Registry(Path("results/registry"))


def audited() -> list[tuple[str, str, str]]:
    """Action, target and outcome of every entry of the audit log, which is whole and of this user."""
    if not (registry().path / FILE).exists():
        return []
    found = verify(registry().path / FILE)
    assert found.broken is None
    assert {entry.who for entry in found.entries} == {user()}
    return [(entry.action, entry.target, entry.outcome) for entry in found.entries]


def champion() -> Alias:
    found = registry().state().find("sentiment", Reference("reviews"))
    assert isinstance(found, Alias)
    return found


def test_a_real_adapter_is_published(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 0
    alias = champion()
    (version,) = alias.target.versions
    assert alias.by.startswith("cli:")
    assert audited() == [("promote", "sentiment/reviews@champion from first", f"done: {version}")]
    promoted = registry().version(NAME, version)
    registry().verify(promoted)
    origin = promoted.manifest.origin
    assert (origin.study, origin.trial, origin.project_version) == ("first", "t002", "0.9")
    assert (origin.metrics["accuracy"], origin.metrics["score"], origin.params["rank"]) == (0.86, 0.8012, 16)
    assert origin.space["rank"]["high"] == 32
    assert origin.base_model.endswith("bert")
    files = {path.name for path in Path("results/first/best").iterdir()}
    assert {entry.path for entry in promoted.manifest.files} == files
    assert tasks.spec("sentiment").predictor(registry().folder(promoted)).predict(["good"])[0]["label"] in (0, 1)
    out = capsys.readouterr().out
    assert f"Promoted sentiment/reviews@{version}\n" in out
    assert f"Checked: {len(files)} files" in out
    assert '-> {"label": ' in out
    assert "champion is new and points to it." in out
    assert "Next: tuner registry show sentiment/reviews\n" in out
    assert "by now: tuner serve --development\n" in out


def test_again_and_another_study(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["promote", "--as", "sentiment/reviews", "--registry", "shared"]
    assert main([*command, "first"]) == 0
    (old,) = Registry(Path("shared")).state().adapter(NAME).versions
    assert main([*command, "first", "--trial", "t002"]) == 0
    assert "champion points to it, as before." in capsys.readouterr().out
    assert main([*command, "second"]) == 0
    out = capsys.readouterr().out
    assert f"champion points to it, and pointed to {old} before." in out
    assert "To go back: tuner registry rollback sentiment/reviews champion --registry shared\n" in out
    assert "tuner serve --development --registry shared\n" in out
    assert len(Registry(Path("shared")).state().adapter(NAME).versions) == 2, "another study is another origin"
    assert main([*command, "second", "--alias", "canary"]) == 0
    assert "canary is new" in capsys.readouterr().out
    assert not Path("results/registry").exists()


def test_another_trial_than_the_winner(
    toy_bases: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    _, study = run(toy_bases["bert"], tmp_path)
    (trial_id, *_) = searched(study)
    trial = next(each for each in study.trials if each.trial_id == trial_id)
    capsys.readouterr()
    assert main(["promote", "toy", "--as", "sentiment/reviews", "--trial", trial_id]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"Loading {study.base_model} and the rows of toy, to make the adapter of {trial_id}."
    assert out[1].startswith("Promoted sentiment/reviews@")
    (version,) = champion().target.versions
    origin = registry().version(NAME, version).manifest.origin
    assert (origin.trial, origin.params["learning_rate"]) == (trial_id, trial.params["learning_rate"])
    assert trial.best is not None
    assert origin.metrics == trial.reports[trial.best]
    assert audited() == [("promote", f"sentiment/reviews@champion from toy trial {trial_id}", f"done: {version}")]
    assert main(["promote", "toy", "--as", "sentiment/reviews", "--trial", trial_id]) == 0
    assert champion().target == Target.of({version: 1}), "the same again is the same version"


def test_nothing_is_promoted_that_cannot_be_written_down(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 0
    log, state = registry().path / FILE, registry().state()
    log.write_bytes(log.read_bytes()[:-3])
    assert main(["promote", "second", "--as", "sentiment/reviews"]) == 1
    assert "is damaged: its last line is not" in capsys.readouterr().err
    assert registry().state() == state


def test_results_elsewhere(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert main(["promote", "first", "--as", "sentiment/reviews", "--results", "../results"]) == 0
    assert len(Registry(studies / "results" / "registry").state().adapters) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "messages"),
    [
        (["first", "--as", "reviews"], 2, ["Write sentiment/reviews."]),
        (["first", "--as", "sentiment/../x"], 2, ["name = '../x'"]),
        (["first", "--as", "sentiments/x"], 2, ["there is no such task"]),
        (["first", "--as", "sentiment/x", "--alias", "a" * 12], 2, ["no alias may look like one"]),
        (["none", "--as", "sentiment/x"], 1, ["there is no such study"]),
        (["third", "--as", "sentiment/x"], 1, ["has no best adapter yet"]),
        (
            ["first", "--as", "shoe_qa/x", "--trial", "t9"],
            2,
            ["2 problems", "Name it sentiment/x.", "study first has no such trial. Its winner is t002."],
        ),
        (["first", "--as", "sentiment/x", "--trial", "t000"], 1, ["trial t000", "no checkpoint is left"]),
        (["first", "--as", "sentiment/x", "--trial", "t003"], 1, ["has failed (the loss was not finite)"]),
        (["third", "--as", "sentiment/x", "--trial", "t004"], 1, ["has not ended"]),
    ],
)
def test_mistakes(
    studies: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, messages: list[str]
) -> None:
    assert main(["promote", *arguments]) == code
    err = capsys.readouterr().err
    for message in messages:
        assert message in err
    assert not registry().state().adapters
    # what is no name and no study is no action yet
    understood = arguments[0] != "none" and arguments[2] in ("sentiment/x", "shoe_qa/x") and "--alias" not in arguments
    assert [outcome.partition(":")[0] for _, _, outcome in audited()] == ["refused"] * understood


def test_an_adapter_that_does_not_answer_is_refused(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 0
    state = registry().state()
    weights = Path("results/second/best/adapter_model.safetensors")
    save_file({name: value * float("nan") for name, value in load_file(weights).items()}, weights)
    assert main(["promote", "second", "--as", "sentiment/reviews"]) == 1
    assert "the adapter loads and does not answer" in capsys.readouterr().err
    save_file({name: value[..., :1].contiguous() for name, value in load_file(weights).items()}, weights)
    assert main(["promote", "second", "--as", "sentiment/reviews"]) == 1
    assert "does not fit its base" in capsys.readouterr().err
    assert registry().state() == state
    (version,) = state.adapter(NAME).versions
    assert [path.name for path in registry().path.glob("versions/*/*/*")] == [version]


def test_bad_files_are_refused_all_at_once(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = Path("results/first/best")
    (best / "training_args.bin").touch()
    weights = best / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 2
    err = capsys.readouterr().err
    assert "2 problems" in err
    assert "'training_args.bin': opening it could run code" in err
    assert "'adapter_model.safetensors': its tensors take" in err
    shutil.rmtree(best)
    best.symlink_to(Path("results/second/best").resolve())
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 2
    assert "not a link" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]"])
def test_an_adapter_that_does_not_say_its_base(studies: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    Path("results/first/best/tuner.json").write_text(content)
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 1
    assert "tuner.json cannot be read" in capsys.readouterr().err


def test_a_checksum_that_was_written_down_is_kept(studies: Path) -> None:
    path = Path("results/first/best/tuner.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "checksum": "as it was", "revision": "v1"}))
    assert main(["promote", "first", "--as", "sentiment/reviews"]) == 0
    (version,) = champion().target.versions
    origin = registry().version(NAME, version).manifest.origin
    assert (origin.base_checksum, origin.revision) == ("as it was", "v1")
    assert champion().target == Target.of({version: 1})


def test_the_canary_is_the_tasks_own_predictor(saved: Path) -> None:
    spec = tasks.spec("sentiment")
    answers: list[dict[str, object]] = []
    canary(spec, answers)(saved)
    assert answers == spec.predictor(saved).predict([spec.example])
    with pytest.raises(StoreError, match="not a saved adapter"):
        canary(spec, answers)(saved.parent)
