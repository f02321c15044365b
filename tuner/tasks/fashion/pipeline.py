"""The mode `pipeline`: a study of prompts, then LoRA on the pictures that its winner describes best, in its words, then
both, each and neither side by side.

Prompts and LoRA are two ways to one style. The first shows which words the base and FashionCLIP read well, and the
second learns from captions in these words. Knows nothing of how studies run.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tuner.bases.clip import ClipModel
from tuner.config import StudyConfig
from tuner.data.images import MIN_PICTURES
from tuner.device import Device, gpu_memory_mb, picture_dtype, select_devices
from tuner.errors import DataError, Problem, StudyError
from tuner.score_benchmark import TOTAL_LOSS, configured
from tuner.score_fashion import FASHION
from tuner.store.files import write_bytes, write_json
from tuner.store.records import StudyRecord
from tuner.tasks.chain import Comparison, SpaceOf, Way
from tuner.tasks.fashion.chain_configs import lora_config, prompt_config
from tuner.tasks.fashion.comparison import COLUMNS, TITLES, Picture, Setting, in_words, recommend, to_json
from tuner.tasks.fashion.features import Feature
from tuner.tasks.fashion.judge import PictureJudge
from tuner.tasks.fashion.prepare import prepare
from tuner.tasks.fashion.prompting import Prompting
from tuner.tasks.fashion.prompts import PromptPlan
from tuner.tasks.fashion.rows import FashionData
from tuner.tasks.fashion.samples import Sample, choose, same_samples, tables, write_samples
from tuner.tasks.fashion.sampling import seed_of
from tuner.tasks.fashion.settings import settings_of
from tuner.tasks.fashion.sheet import contact_sheet
from tuner.tasks.fashion.ways import Drawn, draw, make_ways, read_details, trained_mb

SHOWN = 8  # rows of the contact sheet


class Pipeline:
    """Implements `Chain`. Lies in results/<name>: samples/ and samples.json, base/ and both/ (see `ways`),
    comparison.json and comparison.png."""

    def __init__(self, config: StudyConfig, space_of: SpaceOf) -> None:
        self.folder = config.results / str(config.name)
        self.config = config
        self.first = prompt_config(config, space_of("prompt"), usual=space_of("pipeline").search.trials)
        self.second = lora_config(config, self.folder / "samples")
        self.settings = settings_of(config)
        prepare(config)  # the space of the second study, whose rows are not there yet
        self.data: FashionData = prepare(self.first).data
        count = len({row.png for row in self.data.train})
        if count < MIN_PICTURES:
            rule = f"a pipeline trains on the best of at least {MIN_PICTURES} pictures"
            raise DataError(Problem("data.source pictures", count, rule, "Add some, or use --mode finetune."))

    def hand_over(self, first: StudyRecord, *, fixed: bool) -> list[str]:
        """Choose the pictures that the best prompts describe best, and write them with these as captions."""
        plan = _plan(first)
        samples = self._samples(plan)
        kept = choose(samples)
        held_out = {"validation": self.data.validation, "test": self.data.test}
        lines, folder = tables(kept, held_out), self.folder / "samples"
        if not same_samples(folder, lines):
            if fixed:
                raise StudyError(
                    f"study {self.second.name!r} was trained on other samples than study {first.name!r} now chooses: "
                    "the two would not fit. Choose another --name."
                )
            write_samples(folder, lines, {"train": [each.row for each in kept], **held_out})
        found = [each.to_json(each in kept) for each in samples]
        write_json(self.folder / "samples.json", {"study": first.name, "plan": asdict(plan), "samples": found})
        return [
            f"{len(kept)} of {len(samples)} training samples are kept, each with its prompt as caption: {folder}",
            f'The first: "{kept[0].prompt}".',
        ]

    def compare(self, first: StudyRecord, second: StudyRecord) -> Comparison:
        """Draw the captions of the test rows in each of the four ways, as `tuner predict` does for one who types them,
        and judge what was drawn. No prompt knows the reference: the judge that sees it would find its own words."""
        rows = self.data.test
        captions = [row.caption for row in rows]
        seeds = [seed_of(caption) for caption in captions]
        folders = make_ways(self.folder, _best(self.first, first), _best(self.second, second))
        device = select_devices(self.config.devices, self.config.precision)[0]
        dtype, _ = picture_dtype(device, self.config.precision)
        prompts = _asked(folders["prompt"], captions)
        asked = {"base": captions, "prompt": prompts, "lora": captions, "both": prompts}
        drawn = {name: draw(folders[name], asked[name], seeds, device, dtype) for name in TITLES}
        clip = ClipModel.open(self.settings.clip_model, device.torch)
        judge = PictureJudge(clip, self.settings.similarity, configured(FASHION, self.config))
        references = [row.pixels() for row in rows]
        scores = {name: judge.compare(references, each.pictures, "test") for name, each in drawn.items()}
        use = self._commands(folders)
        cost = _cost(folders, first, second)
        ways = tuple(
            Way(
                name,
                title,
                {
                    **judge.means(scores[name]),
                    "seconds_per_picture": drawn[name].seconds,
                    "peak_memory_mb": drawn[name].memory_mb,
                    **cost[name],
                },
                use[name],
            )
            for name, title in TITLES.items()
        )
        best = recommend({way.name: way.values[TOTAL_LOSS] for way in ways})
        setting = self._setting(device, str(dtype).removeprefix("torch."))
        words = in_words(ways, best, setting)
        losses = {name: [judge.metrics(score)[TOTAL_LOSS] for score in each] for name, each in scores.items()}
        pictures = [
            Picture(caption, prompts[place], seeds[place], {name: losses[name][place] for name in losses})
            for place, caption in enumerate(captions)
        ]
        files = self.folder / "comparison.json", self.folder / "comparison.png"
        write_json(files[0], to_json(setting, ways, best, words, pictures))
        write_bytes(files[1], _sheet(pictures, references, drawn))
        return Comparison(COLUMNS, ways, best, words, files)

    def _samples(self, plan: PromptPlan) -> list[Sample]:
        """Every training picture in the plan's words. A picture that has several captions is one sample where the plan
        says the same of all of them, and comes as often as they."""
        device = select_devices(self.config.devices, self.config.precision)[0]
        clip = ClipModel.open(self.settings.clip_model, device.torch)
        prompting = Prompting(clip)
        every = list(self.data.train)
        told = list(zip(every, prompting.prompts(plan, every), strict=True))
        often = Counter((row.name, row.png, prompt) for row, prompt in told)
        firsts = {(row.name, row.png, prompt): row for row, prompt in reversed(told)}
        rows = [replace(firsts[key], repeats=count) for key, count in often.items()]
        prompts = [prompt for _, _, prompt in often]
        seen = clip.images([row.pixels() for row in rows]).numpy().astype(np.float64)
        similar = (seen * clip.texts(prompts).numpy()).sum(1).tolist()
        return [Sample(*each) for each in zip(rows, prompts, prompting.features(plan, rows), similar, strict=True)]

    def _setting(self, device: Device, dtype: str) -> Setting:
        memory = "process" if gpu_memory_mb(device) is None else "device"
        studies = {"prompt": str(self.first.name), "finetune": str(self.second.name)}
        return Setting(self.config.base_model, f"{device.name} ({device.label})", dtype, memory, studies)

    def _commands(self, folders: Mapping[str, Path]) -> dict[str, str]:
        """What to type for a picture, each way."""
        from tuner.tasks.fashion import SPEC

        results = (
            "" if self.config.results == Path("results") else f" --results {shlex.quote(str(self.config.results))}"
        )
        asked = f"tuner predict fashion {shlex.quote(SPEC.example)} --out picture.png"
        studies = {"prompt": self.first, "lora": self.second}
        return {
            name: f"{asked} --study {shlex.quote(str(studies[name].name))}{results}"
            if name in studies
            else f"{asked} --adapter {shlex.quote(str(folder))}"
            for name, folder in folders.items()
        }


def _asked(way: Path, captions: Sequence[str]) -> list[str]:
    """The captions as the way that lies there says them: with what its training pictures have in common."""
    told = read_details(way)["prompts"]
    plan, common = PromptPlan.from_json(told["plan"]), [Feature(**each) for each in told["common"]]
    return [Prompting.asked(plan, caption, common) for caption in captions]


def _plan(record: StudyRecord) -> PromptPlan:
    assert record.winner is not None  # it is complete
    return PromptPlan.from_params(record.winner.params)


def _best(config: StudyConfig, record: StudyRecord) -> Path:
    assert record.winner is not None
    return config.results / record.name / record.winner.adapter


def _cost(folders: Mapping[str, Path], first: StudyRecord, second: StudyRecord) -> dict[str, dict[str, float]]:
    """Of each way, MB that were trained, seconds of training the adapter that was kept, and seconds of the studies that
    led to it: LoRA is trained on what the study of prompts chose."""
    assert second.winner is not None
    searches = [(study.finished or study.created) - study.created for study in (first, second)]
    training = second.winner.metrics["train_seconds"]
    seconds = {"base": (0.0, 0.0), "prompt": (0.0, searches[0])}
    return {
        name: {
            "trained_mb": trained_mb(folder),
            "training_seconds": seconds.get(name, (training, 0.0))[0],
            "search_seconds": seconds.get(name, (0.0, sum(searches)))[1],
        }
        for name, folder in folders.items()
    }


def _sheet(pictures: Sequence[Picture], references: Sequence[np.ndarray], drawn: Mapping[str, Drawn]) -> bytes:
    shown = range(min(SHOWN, len(pictures)))
    captions = [f"{pictures[place].caption}\n\nprompt: {pictures[place].prompt}" for place in shown]
    rows = [[references[place], *(drawn[name].pictures[place] for name in TITLES)] for place in shown]
    return contact_sheet(captions, ["reference", *TITLES.values()], rows)
