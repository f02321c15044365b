"""Sentiment classification: is this text positive or negative?"""

from __future__ import annotations

from tuner.config import BandConfig
from tuner.tasks.task import TaskSpec

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
    columns={"text": "text", "label": "label"},
)
