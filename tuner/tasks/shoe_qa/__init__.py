"""Shoe-mold question answering: what to do about mildew on footwear, in Traditional Chinese and English."""

from __future__ import annotations

from tuner.config import BandConfig
from tuner.score_benchmark import Benchmark, Measure, Target
from tuner.tasks.task import TaskSpec

_MARKED = BandConfig(excellent=0.8, good=0.65, average=0.5)  # a mark of 8, 6.5, 5 of 10


def _mark(name: str, title: str) -> Measure:
    return Measure(name, name, name, title, _MARKED, target=Target(0.95, 1.1), converged=0.8, most=10.0)


SPEC = TaskSpec(
    name="shoe_qa",
    title="Shoe-mold question answering",
    quality="rubric",
    preservation="preservation",
    bands={
        # MB of trainable parameters per optimizer step; a base's search space may know better edges
        "efficiency": BandConfig(excellent=0.15, good=0.25, average=0.35, higher_is_better=False),
        # mean of the four marks, of 1
        "quality": _MARKED,
        # exp(-(rise in loss on general text)): 0.9 is a rise of 0.1 nats a token
        "preservation": BandConfig(excellent=0.9, good=0.75, average=0.6),
    },
    bases={
        "shoe_chat": "shoe_chat",
        "llama32_3b": "meta-llama/Llama-3.2-3B-Instruct",
        "qwen25_1b5": "Qwen/Qwen2.5-1.5B-Instruct",
    },
    default_space="shoe_chat",
    preparation="tuner.tasks.shoe_qa.prepare:prepare",
    implementation="tuner.tasks.shoe_qa.task:QaTask",
    served="tuner.tasks.shoe_qa.serving:ServedChat",
    speaks="chat",
    columns={"question": "question", "answer": "answer"},
    example="鞋櫃濕度多少才安全?",
    benchmark=Benchmark(
        measures=(
            _mark("completeness", "completeness"),
            _mark("key_data", "key data"),
            _mark("semantic", "semantic consistency"),
            _mark("readability", "readability"),
        ),
        weights={"completeness": 0.3, "key_data": 0.3, "semantic": 0.2, "readability": 0.2},
        deciding="key_data",
        item="answer",
        presets={
            "balanced": {"completeness": 0.25, "key_data": 0.25, "semantic": 0.25, "readability": 0.25},
            "facts_focused": {"completeness": 0.2, "key_data": 0.6, "semantic": 0.1, "readability": 0.1},
        },
    ),
)
