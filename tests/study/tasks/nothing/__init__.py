"""A task with nothing behind it, for studies on the null engine."""

from tuner.config import BandConfig, StudyConfig
from tuner.tasks.task import Prepared, TaskSpec


def prepare(config: StudyConfig) -> Prepared:
    """Nothing to check."""
    return Prepared(data=None, summary={"splits": {}}, warnings=("nothing is trained",))


SPEC = TaskSpec(
    name="nothing",
    title="Nothing at all",
    quality="quality",
    preservation="preservation",
    bands={"quality": BandConfig(excellent=0.9, good=0.8, average=0.7)},
    bases={},
    default_space="none",
    preparation=f"{__name__}:prepare",
    implementation="none",
)
