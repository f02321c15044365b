"""The task "nothing" with rows that are questions with answers, for studies whose answers are judged."""

from dataclasses import replace

from tests.study.tasks.nothing import SPEC as NOTHING

SPEC = replace(NOTHING, name="questions", columns={"question": "question", "answer": "answer"})
