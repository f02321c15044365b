"""The benchmark of fashion images: three similarities between a generated picture and its reference.

Reference values, weights, presets, targets and rules of thumb come from the project's own practice with Stable
Diffusion 1.5; a config may replace each. Knows nothing of how the similarities are measured.
"""

from __future__ import annotations

from tuner.score import DEFAULT_BANDS
from tuner.score_benchmark import Benchmark, Measure, Rule, Target

FASHION = Benchmark(
    measures=(
        Measure(
            name="visual",
            metric="ssim",
            key="visual_similarity",
            title="structure (SSIM)",
            band=DEFAULT_BANDS["ssim"],
            reference=0.326,
            alert_below=0.2,
            target=Target(0.7, 1.2),
            converged=0.5,
        ),
        Measure(
            name="fashion",
            metric="fashion_clip",
            key="fashion_clip_similarity",
            title="meaning (FashionCLIP)",
            band=DEFAULT_BANDS["fashion_clip"],
            reference=0.523,
            alert_below=0.3,
            target=Target(0.7, 1.1),
            converged=0.6,
        ),
        Measure(
            name="color",
            metric="colour",
            key="color_similarity",
            title="colour",
            band=DEFAULT_BANDS["colour"],
            reference=0.012,
            target=Target(0.8, 1.3),
        ),
    ),
    weights={"visual": 0.2, "fashion": 0.6, "color": 0.2},
    deciding="fashion",
    item="image",
    presets={
        "balanced": {"visual": 0.33, "fashion": 0.34, "color": 0.33},
        "fashion_focused": {"visual": 0.15, "fashion": 0.70, "color": 0.15},
        "visual_enhanced": {"visual": 0.50, "fashion": 0.40, "color": 0.10},
        "color_enhanced": {"visual": 0.30, "fashion": 0.40, "color": 0.30},
    },
    reference_loss=0.709,
    rules=(
        Rule("learning_rate", "total_loss", ((0.8, 2e-4), (0.6, 3e-4), (0.4, 5e-4), (0.2, 8e-4)), 1e-3, above=True),
        Rule("steps", "fashion", ((0.3, 300), (0.5, 200), (0.7, 150)), 100),
        Rule("resolution", "visual", ((0.3, 768), (0.5, 640)), 512),
    ),
)
"""What fashion images are judged by. The rule for the rank holds for every task and stands with the advice."""
