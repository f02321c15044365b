"""engine: real tokens a second of packed training against stock PEFT, and how near it comes to the machine's peak.

No Ray. Every round measures, one after the other: the machine's matrix products, stock PEFT (fp32, the model as it
ships, batches of 8 padded to their longest row, in a plain torch loop, faster than HF Trainer), and the tuner's engine
with 1, 4, 8 and 16 trials of batch 8, LoRA r 8 on query and value; first without LoRA dropout, then with 0.1. Both
sides use all cores: stock as one process a core with one thread each, which is its faster way (README.md), ours as the
tuner divides cores among engines (`share_cores`), one process an engine. Processes start together, and a rate is all
their tokens by the seconds of the slowest. Tokens are those of the reviews, special tokens included, padding not. Our
seconds include drawing rows, AdamW, clipping and an evaluation on 16 rows.

    pack16_vs_stock   tokens a second at pack 16 / stock, without dropout, the median over the rounds
    peak_share        products that a pack-16 step needs, in FLOPs a second / the best product rate met in the same run,
                      by one process with all threads or by all processes together
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import stock
from tests.benchmarks.harness import Rows, finish, machine, parser, say, scratch, spread, write_rows

PACKS = (1, 4, 8, 16)
DROPOUTS = (0.0, 0.1)
BATCH, RANK, RATE = 8, 8, 1e-3
ROWS = 304
TARGETS = {"pack16_vs_stock": 5.0, "peak_share": 0.70}


def needed_flops(lengths: Sequence[int], hidden: int, inner: int, layers: int) -> int:
    """FLOPs of the matrix products that one pass over rows of these token counts needs.

    The frozen layers forward, and backward to their inputs; a product (m, k) x (k, n) counts 2 m k n. Left out, because
    nothing needs it: padding; weight gradients of frozen layers; in the first layer the gradient to the embeddings and
    to the keys; in the last layer all but keys and values for tokens that are not a row's first, since the head reads
    only that one. Left out, because it is small (about 1 %): LoRA's own products and the head.
    """
    tokens, rows = sum(lengths), len(lengths)
    squares = sum(length * length for length in lengths)
    projections, feed_forward = hidden * hidden, 2 * hidden * inner
    whole = tokens * (4 * projections + feed_forward)  # query, key, value, output, up, down
    last = tokens * 2 * projections + rows * (2 * projections + feed_forward)
    first_backward = tokens * (projections + feed_forward)  # output, up, down
    product = hidden * squares  # scores, or weights times values, of one layer
    product_last = hidden * tokens
    forward = (layers - 1) * (whole + 2 * product) + last + 2 * product_last
    backward = first_backward + 3 * product + (layers - 2) * (whole + 4 * product) + last + 4 * product_last
    return 2 * (forward + backward)


def product_rate(seconds: float = 1.0) -> float:
    """The best rate of a bf16 matrix product, in FLOPs a second, over large shapes and the base's own.

    fp32 counts too, for CPUs that compute bf16 no faster. `seconds` is the time it takes.
    """
    import torch

    shapes = [(2048, 2048, 2048), (4096, 384, 1536), (4096, 1536, 384)]
    dtypes = (torch.bfloat16, torch.float32)
    found = 0.0
    for dtype in dtypes:
        for rows, inputs, outputs in shapes:
            x = torch.randn(rows, inputs).to(dtype)
            weight = torch.randn(outputs, inputs).to(dtype)
            ends = time.perf_counter() + seconds / (len(shapes) * len(dtypes))
            torch.nn.functional.linear(x, weight)
            while time.perf_counter() < ends:
                began = time.perf_counter()
                torch.nn.functional.linear(x, weight)
                found = max(found, 2 * rows * inputs * outputs / (time.perf_counter() - began))
    return found


class Stock:
    """Stock PEFT in a plain torch loop."""

    def __init__(self, rows: Sequence[dict[str, Any]], dropout: float, tokenizer: Any) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, set_seed

        set_seed(0)
        base = AutoModelForSequenceClassification.from_pretrained(
            stock.base_folder(), num_labels=2, dtype=torch.float32
        )
        self.model = stock.lora_model(base, RANK, dropout).train()
        self.rows, self.collate = rows, DataCollatorWithPadding(tokenizer)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=stock.WEIGHT_DECAY, fused=True)

    def epoch(self) -> float:
        """Seconds of one pass over the rows in random order."""
        import torch

        order = torch.randperm(len(self.rows)).tolist()
        began = time.perf_counter()
        for start in range(0, len(order), BATCH):
            batch = self.collate([self.rows[index] for index in order[start : start + BATCH]])
            torch.autograd.backward(self.model(**batch).loss)
            torch.nn.utils.clip_grad_norm_(self.trained, stock.CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - began


class Ours:
    """The tuner's engine in this process."""

    def __init__(self, folder: Path, rows: Rows, threads: int) -> None:
        from tuner.config import Constant, DataConfig, SearchConfig, StudyConfig
        from tuner.engine.contract import EngineSettings
        from tuner.engine.trainer import DeviceEngine

        config = StudyConfig(
            task="sentiment",
            base_model="minilm",
            data=DataConfig(train=rows.train, validation=rows.validation, test=rows.test),
            space={name: Constant(value=value) for name, value in self.params(0.0).items()},
            search=SearchConfig(reports_per_epoch=1),
            results=folder / "results",
        )
        self.engine = DeviceEngine(EngineSettings(config, "cpu", threads=threads, max_pack=max(PACKS)))
        self.info = self.engine.info()
        self.count = 0

    @staticmethod
    def params(dropout: float) -> dict[str, Any]:
        """The hyperparameters of every trial."""
        return {"rank": RANK, "learning_rate": RATE, "epochs": 1, "batch_size": BATCH, "dropout": dropout}

    def epoch(self, pack: int, dropout: float) -> float:
        """Seconds in which `pack` new trials each pass over the rows once, together, on the threads set before."""
        from tuner.config import COMMON_HYPERPARAMETERS
        from tuner.engine.contract import TrialSpec

        params = {**COMMON_HYPERPARAMETERS, **self.params(dropout)}
        ids = [f"trial-{self.count + index}" for index in range(pack)]
        for index, trial_id in enumerate(ids):
            self.engine.start(TrialSpec(trial_id, params, seed=self.count + index))
        self.count += pack
        began = time.perf_counter()
        reports = self.engine.advance_all(ids)
        seconds = time.perf_counter() - began
        for report in reports:
            if report.status != "ok" or not report.done:
                raise SystemExit(f"{report.trial_id} is not done: {report.status} {report.message}")
            self.engine.stop(report.trial_id)
        return seconds


class Worker:
    """What a process of its own holds, on the same rows as the others: stock models and an engine."""

    def __init__(self, folder: Path, files: Rows) -> None:
        import torch
        from transformers import AutoTokenizer, logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(stock.base_folder())
        rows = stock.tokenise(files.train, tokenizer)
        self.lengths = [len(row["input_ids"]) for row in rows]
        self.ours = Ours(folder, files, 1)
        if self.ours.info.train_rows != len(rows):
            raise SystemExit(f"our engine has {self.ours.info.train_rows} rows, stock has {len(rows)}: not comparable")
        self.peft = {dropout: Stock(rows, dropout, tokenizer) for dropout in DROPOUTS}
        self.set_threads = torch.set_num_threads

    def do(self, what: str, threads: int, pack: int, dropout: float) -> tuple[float, float]:
        """What was done, tokens or FLOPs, and in how many seconds."""
        self.set_threads(threads)
        # the engine's thread has a thread count of its own
        self.ours.engine._call(lambda: self.set_threads(threads))
        tokens = sum(self.lengths)
        if what == "peak":
            return product_rate(), 1.0
        if what == "stock":
            return tokens, self.peft[dropout].epoch()
        return pack * tokens, self.ours.epoch(pack, dropout)


def _work(pipe: Any, folder: Path, files: Rows) -> None:
    worker = Worker(folder, files)
    pipe.send((worker.lengths, worker.ours.info.dtype))
    while (asked := pipe.recv()) is not None:
        pipe.send(worker.do(*asked))
    worker.ours.engine.close()


class Workers:
    """One process a core, waiting for work."""

    def __init__(self, folder: Path, files: Rows, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        for number in range(count):
            mine, theirs = context.Pipe()
            (folder / str(number)).mkdir()
            context.Process(target=_work, args=(theirs, folder / str(number), files), daemon=True).start()
            self.pipes.append(mine)
        ready = [pipe.recv() for pipe in self.pipes]
        self.lengths, self.dtype = ready[0]

    def rate(self, what: str, threads: Sequence[int], packs: Sequence[int] = (), dropout: float = 0.0) -> float:
        """Tokens (FLOPs) a second of as many workers as there are `threads`, started together."""
        used = self.pipes[: len(threads)]
        for index, (pipe, count) in enumerate(zip(used, threads, strict=True)):
            pipe.send((what, count, packs[index] if packs else 0, dropout))
        done = [pipe.recv() for pipe in used]
        return sum(amount for amount, _ in done) / max(seconds for _, seconds in done)

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            pipe.send(None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = parser(__doc__, "repeats", 3).parse_args(arguments)
    import torch
    from transformers import AutoConfig

    from tuner.device import COMPUTE_ENVIRONMENT
    from tuner.engine.placement import share_cores

    os.environ.update(COMPUTE_ENVIRONMENT)  # as the tuner's own processes have it
    cores = os.cpu_count() or 1
    say(f"engine on {machine()}, torch {torch.__version__}{' (quick: no result)' if options.quick else ''}")
    with scratch() as folder:
        workers = Workers(folder, write_rows(folder, 48 if options.quick else ROWS, 16), cores)
        lengths = workers.lengths
        tokens = sum(lengths)
        say(f"{len(lengths)} rows, {tokens} tokens, {cores} cores, our base in {workers.dtype}")
        rates: dict[tuple[str, float], list[float]] = {}
        peak = 0.0
        for repeat in range(1 if options.quick else options.repeats):
            for dropout in DROPOUTS:
                peak = max(peak, workers.rate("peak", [cores]), workers.rate("peak", [1] * cores))
                rates.setdefault(("stock", dropout), []).append(workers.rate("stock", [1] * cores, dropout=dropout))
                for pack in PACKS:
                    threads = share_cores(cores, pack).threads
                    packs = [pack // len(threads)] * len(threads)
                    found = workers.rate("ours", threads, packs, dropout)
                    rates.setdefault((f"pack{pack}", dropout), []).append(found)
                names = ("stock", *(f"pack{pack}" for pack in PACKS))
                shown = ", ".join(f"{name} {rates[name, dropout][-1]:.0f}" for name in names)
                say(f"round {repeat}, dropout {dropout}: {shown} tokens a second")
        workers.close()
    shape = AutoConfig.from_pretrained(stock.base_folder())
    flops = needed_flops(lengths, shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers) / tokens
    finish(summarise(rates, flops, peak), TARGETS, options.quick)


def summarise(rates: Mapping[tuple[str, float], list[float]], flops: float, peak: float) -> dict[str, float]:
    """Print medians with ranges; return the keys. `flops` are those needed by a token, `peak` is in FLOPs a second."""
    say("\ntokens a second, median (range) over the rounds")
    for (name, dropout), found in rates.items():
        say(f"  dropout {dropout}  {name:7} {spread(found, 0)}")
    keys: dict[str, float] = {}
    for dropout in DROPOUTS:
        suffix = f"_dropout_{dropout}" if dropout else ""
        for name in ("stock", *(f"pack{pack}" for pack in PACKS)):
            keys[f"{name}_tokens_per_second{suffix}"] = statistics.median(rates[name, dropout])
        pairs = zip(rates["pack16", dropout], rates["stock", dropout], strict=True)
        keys[f"pack16_vs_stock{suffix}"] = statistics.median(ours / theirs for ours, theirs in pairs)
    keys["peak_gflops"] = peak / 1e9
    keys["needed_mflops_per_token"] = flops / 1e6
    shares = [rate * flops / peak for rate in rates["pack16", 0.0]]
    say(f"share of the peak at pack 16: {spread(shares, 3)}; peak {peak / 1e9:.0f} GFLOPs a second")
    keys["peak_share"] = statistics.median(shares)
    return keys


if __name__ == "__main__":
    main()
