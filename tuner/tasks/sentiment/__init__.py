"""Sentiment classification: is this text positive or negative?"""

from __future__ import annotations

from tuner.config import BandConfig
from tuner.score_benchmark import Benchmark, Measure, Target
from tuner.tasks.task import TaskSpec

# how sure of the right answer a text's prediction is: at half and more the answer is right
_SURE = BandConfig(excellent=0.9, good=0.7, average=0.5)

SPEC = TaskSpec(
    name="sentiment",
    title="Sentiment classification",
    quality="accuracy",
    preservation="preservation",
    bands={
        # MB of trainable parameters per optimizer step; a base's search space may know better edges
        "efficiency": BandConfig(excellent=0.15, good=0.25, average=0.35, higher_is_better=False),
        # share of right answers
        "quality": BandConfig(excellent=0.9, good=0.8, average=0.7),
        # mean cosine of sentence embeddings before and after tuning
        "preservation": BandConfig(excellent=0.9, good=0.75, average=0.6),
    },
    bases={
        "minilm": "minilm",
        "distilbert": "distilbert-base-uncased",
        "roberta": "roberta-base",
        "albert": "albert-base-v2",
        "bert_chinese": "bert-base-chinese",
    },
    default_space="minilm",
    preparation="tuner.tasks.sentiment.prepare:prepare",
    implementation="tuner.tasks.sentiment.task:SentimentTask",
    served="tuner.tasks.sentiment.serving:ServedSentiment",
    speaks="predict",
    columns={"text": "text", "label": "label"},
    answer="name",
    example="The sole came off after a week.",
    benchmark=Benchmark(
        measures=(
            Measure(
                name="certainty",
                metric="label_probability",
                key="label_probability",
                title="probability of the right label",
                band=_SURE,
                alert_below=0.5,
                target=Target(0.95, 1.1),
                converged=0.8,
            ),
            Measure(
                name="accuracy",
                metric="accuracy",
                key="accuracy",
                title="right answers",
                band=BandConfig(excellent=0.9, good=0.8, average=0.7),
                alert_below=0.6,
                target=Target(0.95, 1.1),
                converged=0.85,
            ),
            Measure(
                name="preservation",
                metric="preservation",
                key="embedding_similarity",
                title="embedding kept (cosine to the base)",
                band=BandConfig(excellent=0.9, good=0.75, average=0.6),
                # how far an embedding has to move to carry sentiment depends on the base: no limit holds for all
                target=Target(0.95, 1.1),
            ),
        ),
        weights={"certainty": 0.6, "accuracy": 0.2, "preservation": 0.2},
        deciding="certainty",
        item="text",
        presets={
            "balanced": {"certainty": 0.33, "accuracy": 0.34, "preservation": 0.33},
            "answers_focused": {"certainty": 0.45, "accuracy": 0.45, "preservation": 0.10},
            "preservation_enhanced": {"certainty": 0.30, "accuracy": 0.20, "preservation": 0.50},
        },
    ),
)
