"""What the report's page shows of a factory study, for tests of the page and of its figures.

Score, standing and performance come from the project's own functions; outputs, rounds and advice are written here.
"""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, replace
from typing import Any

from tuner.report.before_after import before_after
from tuner.report.importance import importance
from tuner.report.performance import performance
from tuner.report.settings import settings_of
from tuner.report.standing import standing
from tuner.report.trials import trials_table
from tuner.report.tuning_score import tuning_score
from tuner.score import grade
from tuner.score_benchmark import TOTAL_LOSS, Benchmark, average, distribution, judge_item, versus_reference
from tuner.store.files import finite
from tuner.store.outputs import Output, Outputs
from tuner.store.records import StudyRecord

EVIL = "<script>alert(1)</script> & </script> <img src=x onerror=alert(2)>"


def sized(record: StudyRecord) -> StudyRecord:
    """The record with adapter sizes in its reports: 0.01 MB a rank and module."""
    trials = tuple(
        replace(
            trial,
            reports=tuple(
                {**report, "adapter_mb": 0.01 * trial.params["rank"] * len(trial.params["target_modules"])}
                for report in trial.reports
            ),
        )
        for trial in record.trials
    )
    return replace(record, trials=trials)


def texts(count: int) -> list[dict[str, Any]]:
    """Outputs of a text task: the first the worst, each one a little better, the first text hostile."""
    return [
        {
            "name": f"text_{place}",
            "input": EVIL if place == 0 else f"The story of number {place}.",
            "expected": "positive",
            "answer": "positive" if 2 * place >= count else "negative",
            "base_answer": "",
            "metrics": {"label_probability": place / count, "accuracy": float(2 * place >= count), "preservation": 0.9},
        }
        for place in range(count)
    ]


def paired(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same outputs, with what the base alone says and how that is measured; hostile where the input is."""
    return [
        {
            **item,
            "base_answer": item["input"] if item["input"] == EVIL else "I cannot tell.\nAsk me something else.",
            "base_metrics": {name: value * 0.6 for name, value in item["metrics"].items()}
            | {"answer_loss": 0.5, "answer_words": 8.0, "perplexity": 3.0, "x": 0.0},
            "metrics": item["metrics"] | {"answer_loss": 0.25, "answer_words": 9.0, "perplexity": 4.0, "x": 0.0},
        }
        for item in items
    ]


def images(count: int) -> list[dict[str, Any]]:
    """Outputs of a picture task, with their three pictures."""
    from PIL import Image

    def picture(colour: tuple[int, int, int]) -> str:
        held = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(held, "png")
        return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"

    return [
        {
            "name": f"image_{place}.png",
            "input": "a red dress",
            "expected": "",
            "answer": "",
            "base_answer": "",
            "metrics": {"ssim": 0.9 * place / count, "fashion_clip": place / count, "colour": 0.5},
            "pictures": {
                "expected": picture((200, 0, 0)),
                "base": picture((9, 9, 9)),
                "adapter": picture((place, 0, 0)),
            },
        }
        for place in range(count)
    ]


def rounds(count: int, benchmark: Benchmark) -> list[dict[str, Any]]:
    """A series whose scores rise and whose losses fall."""
    return [
        {
            "iteration": place + 1,
            "study": f"round-{place + 1}",
            "created": 1000.0 * place,
            "overall_score": 0.4 + 0.1 * place,
            "total_loss": 0.8 - 0.1 * place,
            "averages": {each.name: 0.3 + 0.1 * place for each in benchmark.measures},
            "improvement": {"overall_score": 20.0} if place else {},
            "comparable": True,
            "reason": "",
        }
        for place in range(count)
    ]


def page_of(
    record: StudyRecord, items: list[dict[str, Any]] | None = None, benchmark: Benchmark | None = None, **changes: Any
) -> dict[str, Any]:
    """The page of a record with these outputs, judged by `benchmark` (the task's own if none is given)."""
    items = items or []
    settings = settings_of(record)
    benchmark = benchmark or settings.judged_by
    stands = standing(record, benchmark)
    judged = [judge_item(item["name"], item["metrics"], benchmark) for item in items]
    bases = [judge_item(item["name"], item.get("base_metrics", {}), benchmark) for item in items]
    outputs = Outputs(
        "t000",
        "test",
        tuple(
            Output(item["name"], "", "", "", metrics=item["metrics"], base_metrics=item.get("base_metrics", {}))
            for item in items
        ),
    )
    averages = average(judged, benchmark) if judged else stands.averages
    score, missing = tuning_score(record, settings)
    found, winner = importance(record), record.winner
    page: dict[str, Any] = {
        "study": record.name,
        "task": record.task,
        "title": "Sentiment classification",
        "base_model": record.base_model,
        "state": record.state,
        "created": record.created,
        "finished": record.finished,
        "command": record.command,
        "versions": record.versions,
        "analysis_time": "2026-01-02T03:04:05+00:00",
        "summary": ["This is a study."],
        "missing": missing,
        "data": record.data,
        "adapter": winner
        and {
            "trial": 5,
            "params": winner.params,
            "seeds": winner.seeds,
            "size_mb": 0.25,
            "files_mb": None,
            "path": winner.adapter,
            "validation": winner.metrics,
            "test": winner.test,
        },
        "start_point": None,
        "importance": {"shares": found.shares, "basis": found.basis},
        "lora_tuning": score.model_dump(mode="json"),
        "benchmark_analysis": {
            "source": stands.source,
            "average_metrics": {"avg_total_loss": averages[TOTAL_LOSS]},
            "performance_distribution": distribution(judged) if judged else None,
            "benchmark_comparison": versus_reference(averages, benchmark),
            "weights": dict(benchmark.weights),
            "grades": {},
        },
        "measures": [
            {
                "name": each.name,
                "metric": each.metric,
                "key": each.key,
                "title": each.title,
                "average": averages[each.name],
                "grade": grade(averages[each.name], each.band),
                "reference": each.reference,
                "weight": benchmark.weights[each.name],
                "alert_below": each.alert_below,
            }
            for each in benchmark.measures
        ],
        "items": [
            {
                **{name: value for name, value in item.items() if not name.endswith("metrics")},
                "grade": each.grade,
                "total_loss": each.total_loss,
                "similarities": dict(each.similarities),
                "base_total_loss": base.total_loss,
                "base_similarities": dict(base.similarities) if "base_metrics" in item else {},
            }
            for item, each, base in zip(items, judged, bases, strict=True)
        ],
        "before_after": [each.model_dump(mode="json") for each in before_after(outputs, benchmark)],
        "alerts": [{"name": "failed_trials", "level": "warning", "message": "1 of 16 trials failed."}],
        "advice": [
            {
                "hyperparameter": "learning_rate",
                "now": "0.0001 to 0.005",
                "rule_of_thumb": 0.0005,
                "rule_reason": "the loss is 0.5",
                "evidence": "narrow it",
                "evidence_reason": "the best lie in the middle",
            }
        ],
        "targets": [{"name": "accuracy", "title": "right answers", "now": 0.8, "target": None, "reached": False}],
        "convergence": {"converged": False, "reasons": [], "missing": ["The loss is 0.5 and should be 0.4."]},
        "rounds": [],
        "engines": list(record.engines),
        "performance": asdict(performance(record)),
        "trials": [asdict(row) for row in trials_table(record, best_first=True)],
    }
    plain: dict[str, Any] = finite({**page, **changes})
    return plain
