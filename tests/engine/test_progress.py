"""How far one trial is: the order of its rows, where its reports fall, its schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.toy import make_spec
from tuner.engine.progress import Progress, TrialPlan, balanced_order


def walk(plan: TrialPlan) -> tuple[list[list[int]], list[int]]:
    """The batches of a whole trial, and the samples at which it reported."""
    progress, batches, reports = Progress(), [], []
    while not plan.finished(progress):
        batches.append(plan.next_rows(progress.samples))
        progress.samples += len(batches[-1])
        if plan.due(progress):
            reports.append(progress.samples)
            progress.reported = progress.samples
    return batches, reports


@given(
    costs=st.lists(st.integers(1, 9), min_size=1, max_size=60), batch=st.integers(1, 80), epochs=st.integers(1, 3),
    reports=st.integers(1, 90),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_row_once_an_epoch_and_reports_at_their_shares(
    costs: list[int], batch: int, epochs: int, reports: int, seed: int
) -> None:
    rows = len(costs)
    plan = TrialPlan(make_spec(seed=seed, batch_size=batch, epochs=epochs), costs, reports)
    batches, at = walk(plan)
    seen = [row for part in batches for row in part]
    assert len(seen) == epochs * rows == plan.total_samples
    for epoch in range(epochs):
        assert sorted(seen[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    assert len(batches) == plan.schedule.total_steps
    # one report after each batch that reaches a share of its epoch, none after the others
    ends = [sum(len(part) for part in batches[: i + 1]) for i in range(len(batches))]
    shares = {epoch * rows + -(-part * rows // reports) for epoch in range(epochs) for part in range(1, reports + 1)}
    expected, before = [], 0
    for end in ends:
        if any(before < share <= end for share in shares):
            expected.append(end)
        before = end
    assert at == expected
    assert at[-1] == plan.total_samples


@pytest.mark.parametrize("batch", [5, 10])
def test_batches_that_divide_report_at_the_same_samples(batch: int) -> None:
    plan = TrialPlan(make_spec(batch_size=batch, epochs=2), [1] * 40, 4)
    assert walk(plan)[1] == [10, 20, 30, 40, 50, 60, 70, 80]


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    plan = TrialPlan(make_spec(batch_size=64, epochs=3), [1] * 10, 4)
    batches, reports = walk(plan)
    assert [len(part) for part in batches] == [10, 10, 10]
    assert reports == [10, 20, 30]
    assert plan.schedule.total_steps == 3


def test_order_is_a_function_of_seed_and_epoch() -> None:
    first, again = (walk(TrialPlan(make_spec(seed=4), [1] * 30, 2))[0] for _ in range(2))
    assert first == again
    plan = TrialPlan(make_spec(seed=4, epochs=2), [1] * 30, 2)
    assert plan.next_rows(30) != plan.next_rows(0)  # epochs differ...
    assert plan.next_rows(0) == first[0]  # ...and going back finds the same rows
    assert TrialPlan(make_spec(seed=5), [1] * 30, 2).next_rows(0) != first[0]


def test_numbers_of_the_trial() -> None:
    plan = TrialPlan(
        make_spec(rank=4, alpha=6, dropout=0.1, weight_decay=0.2, warmup_ratio=0.5, learning_rate=0.3, batch_size=4),
        [1] * 16,
        2,
    )
    assert (plan.scale, plan.dropout, plan.decay) == (1.5, 0.1, 0.2)
    assert (plan.schedule.total_steps, plan.schedule.warmup_steps, plan.schedule.peak) == (8, 4, 0.3)


def batches_of(costs: list[int], batch: int, seed: int) -> list[list[int]]:
    order = balanced_order(costs, batch, seed)
    return [order[at : at + batch] for at in range(0, len(order), batch)]


def test_batches_cost_about_the_same() -> None:
    costs = [5 + (row * row) % 60 for row in range(200)]
    balanced = [sum(costs[row] for row in part) for part in batches_of(costs, 8, seed=3)]
    plain = [sum(costs[at : at + 8]) for at in range(0, 200, 8)]
    assert max(balanced) < 1.2 * sum(balanced) / len(balanced)
    assert max(plain) > 1.2 * sum(plain) / len(plain)  # which an order that knows no costs does not give


def test_no_row_is_bound_to_another_or_to_a_place() -> None:
    costs = list(range(24))
    orders = [batches_of(costs, 4, seed) for seed in range(200)]
    with_first = {row for order in orders for part in order if 0 in part for row in part}
    assert with_first == {0} | set(range(6, 24))  # one of each other stratum, any of them
    assert {number for order in orders for number, part in enumerate(order) if 0 in part} == set(range(6))


def test_a_last_batch_that_is_smaller_is_no_row_s_own() -> None:
    costs = list(range(9))
    assert {batches_of(costs, 4, seed)[-1][0] for seed in range(300)} >= {0, 4, 8}
