"""How far one trial is: the order of its rows, where its reports fall, its schedule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.toy import make_spec
from tuner.engine.contract import TrialSpec
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
    reports=st.integers(1, 90), accumulation=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_every_row_once_an_epoch_and_reports_at_their_shares(
    costs: list[int], batch: int, epochs: int, reports: int, accumulation: int, seed: int
) -> None:
    rows = len(costs)
    plan = TrialPlan(make_spec(seed=seed, batch_size=batch, epochs=epochs, accumulation=accumulation), costs, reports)
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


@given(
    rows=st.integers(1, 60), batch=st.integers(1, 20), accumulation=st.integers(1, 9), at=st.integers(0, 9)
)  # fmt: skip
def test_a_step_is_that_of_the_larger_batch_in_micro_batches(rows: int, batch: int, accumulation: int, at: int) -> None:
    costs = [1 + (row * row) % 7 for row in range(rows)]
    plan = TrialPlan(make_spec(batch_size=batch, accumulation=accumulation), costs, 2)
    larger = TrialPlan(make_spec(batch_size=batch * accumulation), costs, 2)
    assert plan.schedule == larger.schedule
    samples = at * plan.step_rows % rows
    parts = plan.micro_batches(samples)
    assert sorted(row for part in parts for row in part) == sorted(larger.next_rows(samples))
    assert len(parts[0]) == max(map(len, parts)) <= batch
    assert min(map(len, parts)) >= len(parts[0]) - 1
    assert len(parts) == -(-len(larger.next_rows(samples)) // min(batch, rows)) <= accumulation


def test_micro_batches_of_a_step_cost_about_the_same() -> None:
    costs = [5 + (row * row) % 60 for row in range(200)]
    plan = TrialPlan(make_spec(batch_size=8, accumulation=5), costs, 2)
    cost = [sum(costs[row] for row in part) for at in range(0, 200, 40) for part in plan.micro_batches(at)]
    assert max(cost) < 1.2 * sum(cost) / len(cost)


def test_each_micro_batch_has_dropout_of_its_own() -> None:
    plan = TrialPlan(make_spec(seed=9), [1] * 10, 2)
    assert plan.dropout_seed(0) == 9
    assert len({plan.dropout_seed(number) for number in range(100)}) == 100


def test_a_report_counts_as_stale_unless_it_is_the_best_so_far() -> None:
    progress = Progress()
    stale = []
    for quality in (0.5, 0.5, 0.4, 0.6, 0.55, 0.61):
        progress.judged(quality)
        stale.append(progress.stale)
    assert stale == [0, 1, 2, 0, 1, 0]
    assert progress.best_quality == 0.61


@pytest.mark.parametrize(
    ("patience", "stale", "samples", "early", "finished"),
    [
        (None, 99, 10, False, False),
        (3, 2, 10, False, False),
        (3, 3, 10, True, True),
        (3, 4, 10, True, True),
        (3, 3, 20, False, True),  # all rows were seen: nothing was cut short
        (None, 0, 20, False, True),
    ],
)
def test_the_end_of_a_trial(patience: int | None, stale: int, samples: int, early: bool, finished: bool) -> None:
    plan = TrialPlan(make_spec(epochs=2), [1] * 10, 2, patience)
    progress = Progress(samples=samples, stale=stale)
    assert (plan.stopped_early(progress), plan.finished(progress)) == (early, finished)


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


@pytest.mark.parametrize(("ratio", "steps", "expected"), [(0.25, 0, 4), (0.0, 3, 3), (0.25, 3, 3), (0.0, 0, 0)])
def test_steps_of_warm_up_count_before_their_share(ratio: float, steps: int, expected: int) -> None:
    spec = make_spec(warmup_ratio=ratio, warmup_steps=steps, batch_size=2, accumulation=2, epochs=4)
    schedule = TrialPlan(spec, [1] * 16, 2).schedule
    assert (schedule.total_steps, schedule.warmup_steps) == (16, expected)


def test_a_spec_without_a_common_hyperparameter_has_its_default() -> None:
    spec = make_spec(batch_size=4, schedule="cosine_with_restarts", restarts=2)
    bare = {name: value for name, value in spec.params.items() if name not in ("accumulation", "warmup_steps")}
    plan, old = (TrialPlan(TrialSpec("a", params, 1), [1] * 16, 2) for params in (spec.params, bare))
    assert old.schedule == plan.schedule
    assert old.schedule.restarts == 2
    assert old.step_rows == 4


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
