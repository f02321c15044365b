"""The part of a config that says how a base too large for its device is made to fit: less memory, for more time.

Whether a device and its packages can do it is found out where the base is loaded (`bases.four_bit`).
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.config_space import Flag, Frozen
from tuner.errors import Problem


class MemoryConfig(Frozen):
    """What saves memory, each off by default. `base_4bit` keeps the frozen base's layers in 4 bits (NF4, double
    quantisation), `optimizer_8bit` Adam's moments in 8, `checkpointing` computes a layer's activations again in the
    backward pass instead of keeping them."""

    base_4bit: Flag = False
    optimizer_8bit: Flag = False
    checkpointing: Flag = False


def base_saver_problems(memory: MemoryConfig, task: str) -> Iterator[Problem]:
    """The savers that are on and that a task without them would ignore: those that change how the base is held."""
    rule = f"the task {task} has no use for it, since its bases are small"
    for name in ("base_4bit", "checkpointing"):
        if getattr(memory, name):
            yield Problem(f"memory.{name}", True, rule, "Leave it out; memory.optimizer_8bit works with every task.")
