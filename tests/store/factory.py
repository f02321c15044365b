"""Study records as a real study leaves them, whole or unfinished, for the tests of the store and the reports."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tuner.store.records import COMPLETE, FAILED, PRUNED, Rerun, StudyRecord, TrialRecord, Winner

ROWS = 1000
CONFIG: dict[str, Any] = {
    "task": "sentiment",
    "base_model": "minilm",
    "data": {"source": "embedded"},
    "space": {
        "rank": {"type": "int", "low": 2, "high": 32, "step": 1, "log": True, "when": None},
        "learning_rate": {"type": "float", "low": 1e-4, "high": 5e-3, "log": True, "when": None},
        "epochs": {"type": "int", "low": 1, "high": 4, "step": 1, "log": False, "when": None},
        "alpha": {"type": "choice", "values": [8, 16, 32], "when": None},
        "target_modules": {"type": "choice", "values": [["query", "value"], ["query", "key", "value"]], "when": None},
        "schedule": {"type": "constant", "value": "constant"},
    },
    "search": {"trials": 16, "seed": 0, "asha": {"grace_epochs": 0.5, "reduction_factor": 3.0}},
}


def params(number: int) -> dict[str, Any]:
    """Hyperparameters of trial `number`: fixed, spread over the space."""
    return {
        "rank": round(2 * 16 ** ((number * 7 % 16) / 15)),
        "learning_rate": 1e-4 * 50 ** ((number * 5 % 16) / 15),
        "epochs": 1 + number % 4,
        "alpha": [8, 16, 32][number % 3],
        "target_modules": [["query", "value"], ["query", "key", "value"]][number % 2],
        "schedule": "constant",
    }


def report(chosen: dict[str, Any], samples: int, shift: float = 0.0) -> dict[str, float]:
    """Metrics of a trial after `samples` rows: better near learning rate 1e-3 and rank 12, rising with samples."""
    distance = abs(math.log10(chosen["learning_rate"]) + 3.0) + 0.15 * abs(math.log2(chosen["rank"] / 12))
    accuracy = 0.5 + 0.36 * math.exp(-0.55 * distance) * (1 - math.exp(-samples / 900)) + shift
    preservation = 0.99 - 0.1 * chosen["learning_rate"] * 1e3 * samples / 4000
    return {
        "samples": float(samples),
        "score": 0.2 * 0.9 + 0.4 * accuracy + 0.4 * preservation,
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.002,
        "preservation": preservation,
        "efficiency": 0.0012,
        "score_efficiency": 0.9,
        "score_quality": accuracy,
        "score_preservation": preservation,
        "loss": 0.7 - 0.5 * (accuracy - 0.5),
        "gradient_norm": 1.5,
        "learning_rate": chosen["learning_rate"],
        "epoch": samples / ROWS,
        "tokens_seen": samples * 21.0,
        "samples_per_second": 410.0,
        "train_seconds": samples / 410.0,
        "cpu_percent": 60.0 + samples / 100,
        "memory_mb": 900.0 + samples / 50,
        "engine_samples_per_second": 1500.0 - samples / 20,
        "engine_tokens_per_second": 31500.0 - samples,
    }


def trial(number: int, state: str = COMPLETE) -> TrialRecord:
    """One trial: whole if COMPLETE, stopped at the first or second rung if PRUNED, without a report if FAILED."""
    chosen = params(number)
    record = TrialRecord(f"t{number:03d}", number, chosen, seed=number, engine="cpu", started=1000.0 + 20 * number)
    length = {COMPLETE: 2 * chosen["epochs"], PRUNED: 1 + 2 * (number % 2), FAILED: 0}.get(state, 1)
    for index in range(length):
        metrics = report(chosen, (index + 1) * ROWS // 2)
        record = record.with_report({**metrics, "time": 20.0 * number + 2 * (index + 1)})
    messages = {PRUNED: "stopped at the rung of 500 samples", FAILED: "the loss is not finite"}
    return replace(record, state=state, finished=1018.0 + 20 * number, message=messages.get(state, ""))


def study(trials: int = 16, name: str = "reviews", created: float = 1000.0, **changes: Any) -> StudyRecord:
    """A finished study: some trials complete, some pruned, one failed; the best three re-run on three seeds each."""
    states = [FAILED if n == 6 else PRUNED if n % 5 in (1, 3) else COMPLETE for n in range(trials)]
    records = tuple(trial(number, state) for number, state in enumerate(states))
    best = sorted((r for r in records if r.state == COMPLETE), key=lambda r: r.score or 0.0, reverse=True)[:3]
    reruns = tuple(
        Rerun(r.trial_id, seed, report(r.params, 2000, shift), report(r.params, 2000, shift - 0.01))
        for r in best
        for seed, shift in ((100, -0.012), (101, 0.004), (102, 0.009))
    )
    winner = None
    if best:
        winner = Winner(
            best[0].trial_id,
            best[0].params,
            score=report(best[0].params, 2000)["score"],
            interval=(report(best[0].params, 2000)["score"] - 0.011, report(best[0].params, 2000)["score"] + 0.011),
            seeds=3,
            metrics=report(best[0].params, 2000),
            test=report(best[0].params, 2000, -0.01),
            grades={"quality": "good", "preservation": "excellent", "efficiency": "excellent", "overall": "excellent"},
            adapter="best",
        )
    record = StudyRecord(
        name=name,
        task="sentiment",
        base_model="minilm",
        config=CONFIG,
        command="tuner tune sentiment --space minilm --trials 16",
        created=created,
        finished=created + 300.0,
        state=COMPLETE,
        data={
            "splits": {
                split: {
                    "total_samples": rows,
                    "label_counts": {"negative": rows // 2, "positive": rows // 2},
                    "imbalance_ratio": 1.0,
                    "is_balanced": True,
                }
                for split, rows in (("train", ROWS), ("validation", 300), ("test", 300))
            },
            "warnings": ["2 rows stand in both train and validation; they were left out of train."],
            "fingerprints": {"train": "ab" * 32, "validation": "cd" * 32, "test": "ef" * 32},
        },
        engines=({"name": "cpu", "device": "cpu", "dtype": "bf16", "max_pack": 8, "notes": ["avx512_bf16 found"]},),
        trials=records,
        reruns=reruns,
        winner=winner,
        versions={"torch": "2.14", "peft": "0.21"},
    )
    return replace(record, **changes)
