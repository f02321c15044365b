"""The falling rate and the kept average."""

import pytest
import torch

from tuner.bases.recipe import cosine, follow


def test_the_rate_falls_from_its_peak_to_the_floor() -> None:
    assert [cosine(share, 0.1) for share in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.55, 0.1])
    falling = [cosine(share / 20, 0.02) for share in range(21)]
    assert falling == sorted(falling, reverse=True)


def test_the_average_keeps_its_share_and_takes_whole_numbers_as_they_are() -> None:
    average = {"a": torch.tensor([1.0, 3.0]), "n": torch.tensor(4)}
    follow(average, {"a": torch.tensor([3.0, 3.0]), "n": torch.tensor(7)}.items(), 0.75)
    assert average["a"].tolist() == [1.5, 3.0]
    assert average["n"].item() == 7
