"""Verdicts on logs whose story is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tuner.data.training_logs import RESULTS, STUDY, TRAINING, Broken, Entry, TrainingLog
from tuner.report.log_verdict import compare, judge


def training(
    losses: Sequence[float], evaluations: Sequence[float] = (), epochs: float = 2.0, name: str = "log", **more: float
) -> TrainingLog:
    """Entries at even shares of the epochs, evaluations among them."""
    entries = [
        Entry(number, {"loss": loss, "epoch": epochs * number / len(losses), **more})
        for number, loss in enumerate(losses, 1)
    ]
    entries += [
        Entry(100 + number, {"eval_loss": loss, "epoch": epochs * number / len(evaluations)})
        for number, loss in enumerate(evaluations, 1)
    ]
    entries.sort(key=lambda entry: entry.metrics["epoch"])
    return TrainingLog(name, TRAINING, tuple(entries))


FALLING = [2.0 * 0.9**n for n in range(30)]
LEVEL = [2.0 * 0.6**n + 0.5 for n in range(40)]


@pytest.mark.parametrize(
    ("log", "word"),
    [
        (training([0.0008], epochs=175), "overfitting, until validation says otherwise"),
        (training([1.0] * 5 + [0.0008] * 30, epochs=175), "overfitting, until validation says otherwise"),
        (training(FALLING), "still learning"),
        (training(LEVEL), "converged on the training rows"),
        (training([0.69, 0.70, 0.69, 0.70, 0.69, 0.70]), "not learning"),
        (training([1.0] * 10 + [0.5] * 10 + [2.0] * 10), "diverging"),
        (training([1.0, math.nan, 0.9]), "diverged"),
        (training([1.0, 0.0, 0.0, 0.0], grad_norm=math.nan), "diverged"),
        (training([1.0, 0.9, 0.8, 0.7], grad_norm=0.0), "not learning"),
        (training([1.0, 0.9]), "too short to judge"),
        (training(FALLING, [0.9, 0.7, 0.6, 0.8, 1.0]), "overfitting"),
        (training(FALLING, [0.9, 0.7, 0.6, 0.5, 0.4, 0.3]), "still learning"),
        (training(LEVEL, [0.9, 0.7, 0.6, 0.6, 0.6, 0.6]), "converged"),
        (training([], [0.9]), "too short to judge"),
        (TrainingLog("log", RESULTS, totals={"predict_bleu-4": 40.0, "predict_rouge-l": 30.0}), "fair"),
        (TrainingLog("log", RESULTS, totals={"predict_bleu-4": 99.0}), "too good"),
        (TrainingLog("log", RESULTS, totals={"predict_bleu-4": -3.0}), "not believable"),
        (TrainingLog("log", RESULTS, totals={"predict_runtime": 3.0}), "nothing to judge"),
        (TrainingLog("log", TRAINING, (Entry(1, {"grad_norm": 1.0}),)), "nothing to judge"),
    ],
)
def test_the_verdict_of_a_known_story(log: TrainingLog, word: str) -> None:
    assert judge(log).word == word


def test_overfitting_says_when_it_began() -> None:
    verdict = judge(training(FALLING, [0.9, 0.6, 0.7, 0.8], epochs=4))
    assert "lowest at epoch 2 (0.6)" in verdict.reason
    assert "33 % higher" in verdict.reason
    assert "checkpoint of epoch 2" in verdict.advice


def test_many_epochs_without_evaluation_say_what_is_missing() -> None:
    verdict = judge(training([0.0008], epochs=175))
    assert "175 passes" in verdict.reason
    assert "until validation says otherwise" in verdict.reason


def test_a_study_is_judged_by_where_its_best_trial_came() -> None:
    def study(scores: Sequence[float | None]) -> TrainingLog:
        entries = (
            Entry(n, {"trial": float(n)} | ({} if score is None else {"score": score}),
                  label="failed" if score is None else "complete")
            for n, score in enumerate(scores)
        )  # fmt: skip
        return TrainingLog("study", STUDY, tuple(entries))

    assert judge(study([0.5, 0.9, *[0.6] * 10])).word == "settled"
    assert judge(study([0.5, *[0.6] * 10, 0.9])).word == "still finding better"
    assert judge(study([0.5, None, None])).word == "many trials fail"
    assert judge(study([None, None])).word == "no result"
    assert judge(study([0.5, 0.6])).word == "few trials"
    assert "The best score, 0.9000, is that of trial 1." in judge(study([0.5, 0.9, *[0.6] * 10])).reason


def test_notes_name_spikes_schedules_restarts_and_what_was_not_read() -> None:
    entries = [
        Entry(n, {"loss": 1.0 / n, "epoch": float(n), "grad_norm": 50.0 if n == 7 else 1.0, "learning_rate": 1e-4 / n})
        for n in range(1, 11)
    ]
    first = Entry(0, {"loss": 1.0, "epoch": 5.0})
    log = TrainingLog("log", TRAINING, (first, *entries), broken=(Broken(3, "noise"),) * 5)
    notes = " ".join(judge(log).notes)
    assert "2 runs; the last begins at line 1" in notes
    assert "at 1 of 10 entries, at most 50 at epoch 7" in notes
    assert "begins at 0.0001 and ends at 1e-05" in notes
    assert "5 entries could not be read (line 3: noise; line 3: noise; line 3: noise; and 2 more)" in notes


def test_logs_are_ranked_by_evaluation_loss_or_not_at_all() -> None:
    good, bad = training(FALLING, [0.9, 0.5], name="good"), training(FALLING, [0.9, 0.8], name="bad")
    blind = training(FALLING, name="blind")
    assert compare([bad, good]).startswith("good reached the lowest evaluation loss, 0.5")
    assert "blind has no evaluation loss" in compare([good, blind])
    assert "blind and blind have no evaluation loss" in compare([good, blind, blind])
    assert "none has an evaluation loss" in compare([blind, blind])


def test_studies_are_ranked_by_score_and_not_with_other_logs() -> None:
    low, high = (
        TrainingLog(name, STUDY, (Entry(1, {"trial": 0.0, "score": score}),))
        for name, score in (("a", 0.5), ("b", 0.7))
    )
    assert compare([low, high]).startswith("b has the best score, 0.7000")
    assert "no trial has a score" in compare([TrainingLog("c", STUDY), TrainingLog("d", STUDY)])
    assert "two kinds" in compare([low, training(FALLING)])
