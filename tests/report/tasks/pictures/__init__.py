"""A task with nothing behind it whose outputs are judged as fashion images are."""

from tuner.config import BandConfig
from tuner.score_fashion import FASHION
from tuner.tasks.task import TaskSpec

SPEC = TaskSpec(
    name="pictures",
    title="Pictures",
    quality="ssim",
    preservation="fashion_clip",
    bands={
        "quality": BandConfig(excellent=0.7, good=0.5, average=0.3),
        "preservation": BandConfig(excellent=0.7, good=0.5, average=0.3),
    },
    bases={},
    default_space="none",
    preparation="none",
    implementation="none",
    benchmark=FASHION,
)
