"""The command itself: verbs, exit codes, errors as sentences, and a start-up that imports nothing heavy."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.cli.samples import finished, save
from tuner.cli import main as cli
from tuner.errors import ConfigError, Problem, StudyError

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "ray", "optuna", "transformers", "pydantic", "rich", "sqlalchemy", "matplotlib", "datasets", "numpy"}


def use_verb(monkeypatch: pytest.MonkeyPatch, execute: object) -> None:
    """Put a verb called `status` in place that does what the test wants."""
    module = types.ModuleType("verb", "A verb.")
    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
    module.execute = execute  # type: ignore[attr-defined]
    monkeypatch.setattr(cli, "verb_module", lambda verb: module)


def raising(error: BaseException) -> object:
    def execute(options: argparse.Namespace) -> int:
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (StudyError("the study is taken."), 1, "tuner: the study is taken.\n"),
        (
            ConfigError(
                [Problem("rank", 0, "must be at least 1", "Use 8."), Problem("epochs", 0, "must be at least 1")]
            ),
            2,
            "tuner: 2 problems in the config:\n  - rank = 0: must be at least 1. Use 8.\n"
            "  - epochs = 0: must be at least 1\n",
        ),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_errors_are_sentences_with_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    use_verb(monkeypatch, raising(error))
    assert cli.main(["status"]) == code
    assert capsys.readouterr() == ("", message)


def test_a_fault_of_the_program_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use_verb(monkeypatch, raising(ZeroDivisionError("division by zero")))
    assert cli.main(["status"]) == 1
    message = capsys.readouterr().err
    assert "unexpected error, ZeroDivisionError: division by zero" in message
    assert "--debug" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("arguments", [["--debug", "status"], ["status", "--debug"]])
def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    use_verb(monkeypatch, raising(StudyError("no")))
    with pytest.raises(StudyError):
        cli.main(arguments)


def test_a_verb_gets_the_command_that_reproduces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    use_verb(monkeypatch, lambda options: seen.append(options.command) or 3)
    assert cli.main(["status"]) == 3
    assert seen == ["tuner status"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tnue"], "Did you mean tune?"),
        (["xyzzy"], "Use one of: tune, run, status"),
        (["--nonsense"], "unrecognized arguments"),
        (["status", "--nonsense"], "unrecognized arguments"),
    ],
)
def test_wrong_words(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for verb, entry in cli.VERBS.items():
        assert verb in shown
        assert entry.help in shown


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_for_every_option(verb: str) -> None:
    parser = cli.verb_parser(verb)
    assert parser.description
    missing = [action.dest for action in parser._actions if not action.help]
    assert missing == []


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    done = run_python(
        "import sys\nfrom tuner.cli.main import main\nmain([])\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\nassert not heavy, heavy"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_parser_of_a_verb_imports_no_library_that_trains(verb: str) -> None:
    done = run_python(
        f"import sys\nfrom tuner.cli.main import verb_parser\nverb_parser({verb!r})\n"
        "training = {'torch', 'ray', 'optuna', 'transformers', 'peft', 'datasets', 'matplotlib'}\n"
        "heavy = sorted(training & set(sys.modules))\n"
        "assert not heavy, heavy"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_closes_early_is_no_error(tmp_path: Path) -> None:
    tuner = f"'{sys.executable}' -m tuner status --list --results '{tmp_path}'"
    for number in range(3):
        save(tmp_path, finished(f"study-{number}" + "-long" * 15, created=float(number)))
    command = f"{tuner} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import signal, sys, types\n"
        "from tuner.cli import main as cli\n"
        "def execute(options):\n    print('ready', flush=True)\n    signal.pause()\n"
        "module = types.SimpleNamespace(__doc__='', add_arguments=lambda parser: None, execute=execute)\n"
        "cli.verb_module = lambda verb: module\n"
        "sys.exit(cli.main(['status']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, message = process.communicate()
    assert (process.returncode, message) == (130, "Stopped.\n")
