"""A language model's grades for the answers of a study's winner, beside the measures of its task.

Off without `judge.url`. The grades are written with the outputs and shown in reports; neither the score nor the search
knows them. An answer that could not be graded has none, and the study goes on.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tuner.config_judge import JudgeConfig
from tuner.errors import ConfigError, Problem
from tuner.store.outputs import Output
from tuner.study.judge_client import JudgeClient, UngradedError
from tuner.tasks.task import TaskSpec

PREFIX = "judge_"
PROGRESS_SECONDS = 15.0
MOST_IN_A_ROW = 8
"""After so many failures in a row no more answers are sent."""

_POLL_SECONDS = 0.1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Asked:
    """One answer to grade: of which output, and among which of its metrics the grades go."""

    number: int
    metrics: Literal["metrics", "base_metrics"]
    output: Output

    @property
    def answer(self) -> str:
        return self.output.answer if self.metrics == "metrics" else self.output.base_answer


def check_judge(spec: TaskSpec, config: JudgeConfig) -> None:
    """Raises ConfigError for a judge of a task whose rows are not questions with answers."""
    if config.url is not None and not spec.columns.keys() >= {"question", "answer"}:
        rule = f"cannot be given: what {spec.name} makes of a row is no answer to a question"
        raise ConfigError(Problem("judge.url", config.url, rule, "Leave it out."))


def judged(items: Sequence[Output], config: JudgeConfig, stopping: threading.Event) -> list[Output]:
    """The outputs, with judge_completeness and its like (0 to 10) among the metrics of the first `config.items`, and
    among their base metrics where the base answered; as they are without a judge. Returns early once `stopping` is set.
    What went wrong is one warning in the log."""
    if config.url is None:
        return list(items)
    found = _graded(list(_answers(items[: config.items])), config, stopping)
    return [
        replace(
            item,
            metrics={**item.metrics, **found.get((number, "metrics"), {})},
            base_metrics={**item.base_metrics, **found.get((number, "base_metrics"), {})},
        )
        for number, item in enumerate(items)
    ]


def _answers(items: Sequence[Output]) -> Iterator[_Asked]:
    for number, item in enumerate(items):
        yield _Asked(number, "metrics", item)
        # a base that was measured answered, be it with nothing
        if item.base_answer or item.base_metrics:
            yield _Asked(number, "base_metrics", item)


def _graded(
    asked: Sequence[_Asked], config: JudgeConfig, stopping: threading.Event
) -> dict[tuple[int, str], Mapping[str, float]]:
    """Grades by number and place, of those that could be graded."""
    found: dict[tuple[int, str], Mapping[str, float]] = {}
    failures: Counter[str] = Counter()
    in_a_row, hopeless, told = 0, False, time.monotonic()
    closing = threading.Event()
    client = JudgeClient(config, closing)
    judge = f"the judge {config.model} at {client.place}"
    log.info("%s grades %d answers", judge, len(asked))
    replies = _start(asked, client, closing, config.concurrent)
    try:
        while len(found) + failures.total() < len(asked):
            if stopping.is_set() or hopeless or in_a_row >= MOST_IN_A_ROW:
                break
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                log.info("%s has graded %d of %d answers", judge, len(found), len(asked))
            try:
                each, reply = replies.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(reply, UngradedError):
                failures[str(reply)] += 1
                in_a_row, hopeless = in_a_row + 1, reply.hopeless
            else:
                found[each.number, each.metrics] = {PREFIX + name: grade for name, grade in reply.items()}
                in_a_row = 0
    finally:
        closing.set()
    if left := len(asked) - len(found) - failures.total():
        failures["the study was stopped" if stopping.is_set() else "not sent after that"] = left
    if failures:
        why = ", ".join(f"{words} ({count})" for words, count in failures.items())
        log.warning("%s graded %d of %d answers; the others have no grades: %s", judge, len(found), len(asked), why)
    else:
        log.info("%s graded all %d answers", judge, len(asked))
    return found


def _start(
    asked: Sequence[_Asked], client: JudgeClient, closing: threading.Event, threads: int
) -> queue.SimpleQueue[tuple[_Asked, dict[str, float] | UngradedError]]:
    """Send all answers from some threads until `closing` is set. Returns the queue in which the replies arrive."""
    waiting: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
    replies: queue.SimpleQueue[tuple[_Asked, dict[str, float] | UngradedError]] = queue.SimpleQueue()
    for each in asked:
        waiting.put(each)

    def work() -> None:
        while not closing.is_set():
            try:
                each = waiting.get_nowait()
            except queue.Empty:
                return
            row = each.output
            try:
                replies.put((each, client.grade(row.input, row.expected, row.key_facts, each.answer)))
            except UngradedError as error:
                replies.put((each, error))
            except Exception as error:  # whatever it is, it costs one answer its grades and no more
                replies.put((each, UngradedError(type(error).__name__)))

    # daemons: a study that is stopped does not wait for a judge that does not answer
    for number in range(min(threads, len(asked))):
        threading.Thread(target=work, name=f"judge-{number}", daemon=True).start()
    return replies
