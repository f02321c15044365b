"""The one training loop: a pack of trials on one frozen base, one optimizer step of each at a time. Knows no Ray and no
threads.

    rows of every member -> one forward -> loss of each row -> mean per member -> one backward -> a step of each
    member's own AdamW

A member that accumulates brings its rows in several micro-batches: the pack passes through the base so many times,
each time with the members that have one left, before anyone steps. No step ends between two passes, so a checkpoint
knows nothing of gradients.

Members do not mix (see `lora.packed`), so a trial learns what it would learn alone. A member whose loss or gradient
is not finite is reported and left out of the step, the others go on. When memory runs out the pack is halved and the
same rows are tried again: for good where all members fit in halves; one that does not fit even alone is reported as
out of memory, and the others go on as before. After any other error the halves are tried too, so that only the member
that causes it fails. Evaluation is treated alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import torch

from tuner.config import StudyConfig
from tuner.device import Device, empty_cache, is_out_of_memory
from tuner.engine.contract import Report, TrialSpec
from tuner.engine.progress import Progress, TrialPlan
from tuner.engine.usage import Usage
from tuner.errors import StoreError, TrialError
from tuner.lora.adapter import pack_checkpoint, unpack_checkpoint
from tuner.lora.optim import adamw_step, average_step, gradient_norms
from tuner.lora.packed import Member, Pack
from tuner.lora.parameters import AdapterShape, ParameterStore, initial_tensors, tensor_shapes
from tuner.score import overall_score
from tuner.store.outputs import Output
from tuner.tasks.task import Task, TaskSpec

Result = TypeVar("Result")

_STATE = ("weights", "average", "first", "second")  # what a checkpoint holds of an adapter, all of its shape
MAX_NORM = 1.0  # gradients are clipped to this norm, as Hugging Face's Trainer does by default


class Trial:
    """One trial in an engine: its plan, its progress, its slot, and the (averaged) weights of its best report."""

    def __init__(self, plan: TrialPlan, slot: int, device: torch.device) -> None:
        self.plan = plan
        self.slot = slot
        self.progress = Progress()
        self.steps = torch.zeros((), device=device)  # the fused optimizer wants it beside the weights
        self.best: dict[str, torch.Tensor] = {}
        self.failure: tuple[str, str] | None = None

    def fail(self, status: str, message: str) -> None:
        """Take the trial out; its next report says why."""
        self.failure = (status, message)


class Packing:
    """Trials on one task's base. One thread only. One slot more than `max_pack` serves evaluation of best adapters."""

    def __init__(self, task: Task, spec: TaskSpec, config: StudyConfig, device: Device, max_pack: int) -> None:
        self.task = task
        self.spec = spec
        self.config = config
        self.device = device
        self.max_pack = max_pack
        self.limit = max_pack  # members of one step; halved when memory runs out
        compressed = config.memory.optimizer_8bit
        self.store = ParameterStore(task.sites, max_pack + 1, device.torch, compressed=compressed)
        self.trials: dict[str, Trial] = {}
        self.costs = task.row_costs()
        self.bands = {**spec.bands, **config.score.bands}
        self.rows_per_second = 0.0
        self.usage = Usage(device)

    def start(self, spec: TrialSpec, checkpoint: bytes | None = None) -> None:
        """Place a trial in a free slot. Raises TrialError when there is none, StoreError for a bad checkpoint."""
        if spec.trial_id in self.trials:
            self.stop(spec.trial_id)
        taken = {trial.slot for trial in self.trials.values()}
        free = [slot for slot in range(self.max_pack) if slot not in taken]
        if not free:
            raise TrialError("failed", f"the engine is full: it holds {self.max_pack} trials already")
        search = self.config.search
        plan = TrialPlan(spec, self.costs, search.reports_per_epoch, search.patience)
        trial = Trial(plan, free[0], self.device.torch)
        shape = self.task.shape(spec.params)
        if checkpoint is None:
            self._place(trial.slot, shape, initial_tensors(self.task.sites, shape, spec.seed))
        else:
            groups, state = self._read(checkpoint, shape)
            self._place(trial.slot, shape, groups["weights"])
            for kind in _STATE[1:]:
                self.store.restore(trial.slot, kind, groups[kind])
            trial.progress = Progress(**state["progress"])
            trial.steps.fill_(trial.progress.steps)
            trial.best = groups.get("best", {})
        self.trials[spec.trial_id] = trial

    def _place(self, slot: int, shape: AdapterShape, weights: Mapping[str, torch.Tensor]) -> None:
        """Put an adapter into the store. Raises TrialError if there is no memory for it; the others are untouched."""
        try:
            self.store.put(slot, shape, weights)
        except Exception as error:
            raise TrialError(*_failure(error)) from error

    def stop(self, trial_id: str) -> None:
        """Forget a trial."""
        trial = self.trials.pop(trial_id, None)
        if trial is not None:
            self.store.free(trial.slot)

    def checkpoint(self, trial_id: str) -> bytes:
        """Everything needed to continue a trial."""
        trial = self._trial(trial_id)
        groups = {kind: self.store.tensors(trial.slot, kind) for kind in _STATE}
        if trial.best:
            groups["best"] = trial.best
        # before the first report nothing is the best: JSON has no infinity, which is the default
        progress = {name: value for name, value in asdict(trial.progress).items() if value != -math.inf}
        return pack_checkpoint(
            groups, {"progress": progress, "trial_id": trial_id, "params": dict(trial.plan.spec.params)}
        )

    def samples_left(self) -> int:
        """Training rows that the trials held here still ask for."""
        every = self.trials.values()
        going = [trial for trial in every if trial.failure is None and not trial.plan.finished(trial.progress)]
        return sum(trial.plan.total_samples - trial.progress.samples for trial in going)

    def advance(self, ids: Sequence[str]) -> list[Report]:
        """One step of these trials, and the reports of those who have reached one. A trial that has come to its end
        trains no more: it reports again."""
        finished = [i for i in ids if self._trial(i).plan.finished(self._trial(i).progress)]
        arrived = self.step([trial_id for trial_id in ids if trial_id not in finished])
        return self.report([*finished, *arrived]) if finished or arrived else []

    def step(self, ids: Sequence[str]) -> list[str]:
        """One optimizer step of each of these trials; those whose report is due, or who failed, are returned. Where the
        task trains nothing, they have come to their end at once."""
        trials = [self._trial(trial_id) for trial_id in ids]
        if not self.spec.trains:
            for trial in trials:
                trial.progress.samples = trial.plan.total_samples
            return list(ids)
        started = time.perf_counter()
        seen = self._apart([trial for trial in trials if trial.failure is None], self._forward_backward)
        rows = sum(count for count in seen if count)
        seconds = time.perf_counter() - started
        for trial in trials:
            trial.progress.seconds += seconds
        if rows:
            rate = rows / seconds
            self.rows_per_second = rate if not self.rows_per_second else 0.9 * self.rows_per_second + 0.1 * rate
        return [
            trial.plan.spec.trial_id for trial in trials if trial.failure is not None or trial.plan.due(trial.progress)
        ]

    def report(self, ids: Sequence[str]) -> list[Report]:
        """Evaluate these trials together and report; their best adapters are kept."""
        sound = [trial_id for trial_id in ids if self._trial(trial_id).failure is None]
        found = dict(zip(sound, self._apart([self._trial(i) for i in sound], self._judge), strict=True))
        usage = self.usage.measure()  # of memory before it is handed back: the work needed it
        empty_cache(self.device)
        return [self._report(self._trial(trial_id), found.get(trial_id), usage) for trial_id in ids]

    def evaluate(self, trial_id: str, split: str) -> dict[str, float]:
        """Metrics of a trial's best adapter on a split, with its score. Raises TrialError if it cannot be measured."""
        trial = self._trial(trial_id)
        steps = trial.progress.best_metrics.get("step", trial.progress.steps)

        def judged(pack: Pack) -> dict[str, float]:
            metrics = self.task.evaluate(pack, split)[0]
            return {**metrics, **self._scored(metrics, self.store.size_mb(trial.slot), int(steps))}

        return self._with_best(trial, judged)

    def outputs(self, trial_id: str, split: str, count: int) -> list[Output]:
        """What a trial's best adapter answers to the first rows of a split. Raises TrialError if it cannot."""
        return self._with_best(self._trial(trial_id), lambda pack: self.task.outputs(pack, split, count))

    def adapter(self, trial_id: str, which: str) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
        """Tensors of the trial's "best" or "last" adapter, and its hyperparameters."""
        trial = self._trial(trial_id)
        best = trial.best if which == "best" else {}
        return best or self.store.tensors(trial.slot, "average"), trial.plan.spec.params

    def _trial(self, trial_id: str) -> Trial:
        try:
            return self.trials[trial_id]
        except KeyError:
            raise TrialError("failed", f"the engine does not hold trial {trial_id}") from None

    @torch.no_grad()
    def _with_best(self, trial: Trial, work: Callable[[Pack], Result]) -> Result:
        """`work` on a pack of the trial's best adapter alone, in a free slot. Raises TrialError if it fails."""
        shape = self.task.shape(trial.plan.spec.params)
        spare = next(slot for slot, taken in enumerate(self.store.shapes) if taken is None)
        try:
            self.store.put(spare, shape, trial.best or self.store.tensors(trial.slot, "average"))
            return work(self._at_rest([self._resting(trial, spare)]))
        except Exception as error:
            raise TrialError(*_failure(error)) from error
        finally:
            self.store.free(spare)

    def _resting(self, trial: Trial, slot: int) -> Member:
        return Member(slot, trial.plan.scale, params=trial.plan.spec.params)

    def _at_rest(self, members: Sequence[Member]) -> Pack:
        return Pack(self.store, members, self.task.dtype, train=False)

    def _read(
        self, checkpoint: bytes, shape: AdapterShape
    ) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
        """Groups of tensors and state of a checkpoint. Raises StoreError unless they fit an adapter of this shape."""
        groups, state = unpack_checkpoint(checkpoint)
        wanted = tensor_shapes(self.task.sites, shape)
        for kind in (*_STATE, "best"):
            if kind == "best" and kind not in groups:
                continue
            found = {name: tuple(value.shape) for name, value in groups.get(kind, {}).items()}
            if found != wanted:
                raise StoreError(
                    f"a checkpoint does not fit its trial: its {kind} belong to another base or other hyperparameters."
                )
        try:
            Progress(**state["progress"])
        except (KeyError, TypeError) as error:
            raise StoreError(
                f"a checkpoint cannot be read ({error}): it is damaged or not one of this project."
            ) from error
        # a file holds no group of an adapter that trains nothing
        return {**{kind: {} for kind in _STATE}, **groups}, state

    def _apart(self, trials: list[Trial], work: Callable[[list[Trial]], Sequence[Result]]) -> list[Result | None]:
        """The results of `work` on these trials, at most `limit` at once, in halves where it raises. Who raises alone
        fails: None."""
        if not trials:
            return []
        if len(trials) > self.limit:
            first, rest = trials[: self.limit], trials[self.limit :]
            return self._apart(first, work) + self._apart(rest, work)
        try:
            return list(work(trials))
        except Exception as error:
            if len(trials) == 1:
                trials[0].fail(*_failure(error))
                return [None]
            memory = is_out_of_memory(error)
        # the traceback, which held the batch's tensors, is gone here: the halves find the memory free
        empty_cache(self.device)
        half, before = len(trials) // 2, self.limit
        if memory:
            self.limit = max(1, min(self.limit, half))
        found = self._apart(trials[:half], work) + self._apart(trials[half:], work)
        if memory and any(trial.failure for trial in trials):
            self.limit = before  # it was one of them, who is out now: the others fit
        return found

    def _forward_backward(self, trials: list[Trial]) -> list[int]:
        """One step of each of these trials on its next rows; how many rows each saw."""
        batches = [trial.plan.micro_batches(trial.progress.samples) for trial in trials]
        parts = [self._pass(trials, batches, number) for number in range(max(map(len, batches)))]
        found = iter(torch.cat(parts).tolist())
        losses = [0.0] * len(trials)
        for number in range(len(parts)):
            for index in _with_batch(batches, number):
                losses[index] += next(found)
        norms = gradient_norms(self.store, torch.tensor([trial.slot for trial in trials], device=self.device.torch))
        rows = [[row for part in each for row in part] for each in batches]
        for trial, chosen, loss, norm in zip(trials, rows, losses, norms, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                what = "loss" if not math.isfinite(loss) else "gradient"
                trial.fail(
                    "nan",
                    f"the {what} is not finite after {trial.progress.samples} samples: the learning rate is too high",
                )
                continue
            progress, plan = trial.progress, trial.plan
            rate = plan.schedule.rate(progress.steps)
            adamw_step(self.store, trial.slot, trial.steps, rate, plan.decay, norm, MAX_NORM)
            progress.steps += 1
            average_step(self.store, trial.slot, progress.steps, averaging=plan.ema)
            progress.samples += len(chosen)
            tokens = sum(self.costs[row] for row in chosen)
            progress.tokens += tokens
            self.usage.trained(len(chosen), tokens)
            progress.loss_sum += loss * len(chosen)
            progress.loss_rows += len(chosen)
            progress.gradient_norm = norm
        return [len(member) for member in rows]

    def _pass(self, trials: Sequence[Trial], batches: Sequence[Sequence[list[int]]], number: int) -> torch.Tensor:
        """Forward and backward of micro-batch `number` of each trial that has one: what it adds to the mean loss of
        each of their steps (M,). The first one sets gradients, so that nothing is left of an attempt that failed half
        way; the others add to them."""
        taking = _with_batch(batches, number)
        rows = [batches[index][number] for index in taking]
        members = [self._member(trials[index], number) for index in taking]
        pack = Pack(self.store, members, self.task.dtype, train=True)
        losses = self.task.losses(pack, rows).split([len(member) for member in rows])
        means = torch.stack([part.mean() for part in losses])
        shares = [len(batches[index][number]) / sum(map(len, batches[index])) for index in taking]
        means = means * torch.tensor(shares, device=means.device)
        # the sum keeps members apart: each mean depends on its own member's weights alone
        means.sum().backward()
        pack.flush_gradients(add=number > 0)
        return means.detach()

    def _member(self, trial: Trial, number: int) -> Member:
        plan = trial.plan
        seed = plan.dropout_seed(number)
        return Member(trial.slot, plan.scale, plan.dropout, seed, trial.progress.steps, plan.spec.params)

    @torch.no_grad()
    def _judge(self, trials: list[Trial]) -> list[dict[str, float]]:
        """Metrics on the validation rows, with the score, of each trial's average as it is now."""
        pack = self._at_rest([self._resting(trial, trial.slot) for trial in trials])
        measured = self.task.evaluate(pack, "validation")
        return [
            {**metrics, **self._scored(metrics, self.store.size_mb(trial.slot), trial.progress.steps)}
            for trial, metrics in zip(trials, measured, strict=True)
        ]

    def _scored(self, metrics: Mapping[str, float], size_mb: float, steps: int) -> dict[str, float]:
        found = {**metrics, "efficiency": size_mb / max(steps, 1)}
        raw = {component: found[metric] for component, metric in self.spec.sources.items()}
        score = overall_score(raw, self.config.score, self.bands)
        return {
            "score": score.overall,
            "score_efficiency": score.efficiency,
            "score_quality": score.quality,
            "score_preservation": score.preservation,
            "score_graded": score.graded_overall,
            "efficiency": raw["efficiency"],
            "adapter_mb": size_mb,
        }

    def _report(self, trial: Trial, found: Mapping[str, float] | None, usage: Mapping[str, float]) -> Report:
        progress, plan = trial.progress, trial.plan
        index = progress.reports
        progress.reports += 1
        trial_id = plan.spec.trial_id
        if found is None:
            status, message = trial.failure or ("failed", "")
            return Report(trial_id, index, progress.samples, True, {}, status, message)
        seconds = max(progress.seconds, 1e-9)
        progress.reported = progress.samples
        if progress.loss_rows:
            progress.loss = progress.loss_sum / progress.loss_rows
        metrics = {
            **found,
            "loss": progress.loss,
            "gradient_norm": progress.gradient_norm,
            "learning_rate": plan.schedule.rate(max(progress.steps - 1, 0)),
            "epoch": progress.samples / plan.rows,
            "step": float(progress.steps),
            "samples": float(progress.samples),
            "tokens_seen": float(progress.tokens),
            "tokens_per_second": progress.tokens / seconds,
            "samples_per_second": progress.samples / seconds,
            "train_seconds": seconds,
            **usage,
        }
        progress.loss_sum, progress.loss_rows = 0.0, 0
        if not all(math.isfinite(value) for value in metrics.values()):
            return Report(trial_id, index, progress.samples, True, metrics, "nan", "a metric is not finite")
        if metrics["score"] > progress.best_score:
            progress.best_score, progress.best_metrics = metrics["score"], metrics
            trial.best = self.store.tensors(trial.slot, "average")
        quality = metrics[self.spec.quality]
        progress.judged(quality if self.bands["quality"].higher_is_better else -quality)
        if plan.stopped_early(progress):
            metrics = {**metrics, "stopped_early": 1.0}
        return Report(trial_id, index, progress.samples, plan.finished(progress), metrics)


def _with_batch(batches: Sequence[Sequence[list[int]]], number: int) -> list[int]:
    """Positions of the trials whose step has a micro-batch `number`."""
    return [index for index, each in enumerate(batches) if number < len(each)]


def _failure(error: Exception) -> tuple[str, str]:
    """The status that an error gives a trial, and why, in one line."""
    if is_out_of_memory(error):
        return "out_of_memory", "it does not fit in memory, even alone"
    return "failed", f"{type(error).__name__}: {error}".split("\n")[0]
