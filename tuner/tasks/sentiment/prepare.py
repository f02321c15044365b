"""All that can be checked and read before a model loads: the base's facts, the target modules, the rows. Imports no
torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuner.bases.describe import BaseFacts, describe
from tuner.config import StudyConfig
from tuner.config_memory import base_saver_problems
from tuner.data.classification import Splits, load_splits
from tuner.data.fingerprint import fingerprint_splits
from tuner.data.language import language_warning
from tuner.data.validate import ValidationReport, clean, validate_classification
from tuner.errors import BaseModelError, ConfigError, Problem
from tuner.lora.layouts import EncoderLayout, layout_of, lora_modules, matching, translated
from tuner.tasks.sentiment.reviews import embedded_splits
from tuner.tasks.space_checks import length_problems, rank_problems, target_problems
from tuner.tasks.task import Prepared

LABELS = 2
NAMES = ("negative", "positive")


def default_targets(layout: EncoderLayout) -> list[str]:
    """The attention's query and value, as the LoRA paper tunes them."""
    return [layout.query.rpartition(".")[2], layout.value.rpartition(".")[2]]


def prepare(config: StudyConfig) -> Prepared:
    """Check base, space and rows. Raises BaseModelError, ConfigError, DataError; the base is looked at before the
    rows are read."""
    facts = describe(config.base_model, config.revision)
    layout = layout_of(facts.model_type)
    width = int(facts.config.get("hidden_size") or facts.config.get("dim") or 0)
    layers = int(facts.config.get("num_hidden_layers") or facts.config.get("n_layers") or 0)
    modules = lora_modules(layout, layers)
    problems = [
        *rank_problems(config, width),
        *_target_problems(config, modules, layout),
        *_length_problems(config, facts),
        *base_saver_problems(config.memory, config.task),
    ]
    if problems:
        raise ConfigError(problems)
    splits = load_splits(config.data, {"text": "text", "label": "label"}, embedded_splits)
    report = validate_classification(splits, LABELS)
    report.raise_problems()
    kept = clean(splits, report)
    report = _with_truncated(report, kept, facts, config.data.max_length)
    warning = language_warning((row.text for row in kept.train), facts.languages)
    warnings = (*report.warnings, *((warning,) if warning else ()))
    balanced = all(report.statistics[split].is_balanced for split in ("train", "validation"))
    summary: dict[str, Any] = {
        # where one class is rare, always naming the other is right most of the time
        "quality": "accuracy" if balanced else "macro_f1",
        **report.to_json(),
        "source": config.data.source if config.data.train is None else str(config.data.train),
        "notes": list(splits.notes),
        "fingerprints": {name: print_.sequence for name, print_ in fingerprint_splits(kept).items()},
        "label_names": list(splits.label_names or NAMES),
        "base": {"name": facts.name, "architecture": facts.model_type, "checksum": facts.checksum},
    }
    return Prepared(data=kept, summary=summary, warnings=warnings)


def _target_problems(config: StudyConfig, modules: Sequence[str], layout: EncoderLayout) -> list[Problem]:
    parts = layout.parts
    # the last word where it names one part alone, as in query; more of the name where it does not, as in output.dense
    last = [part.rpartition(".")[2] for part in parts]
    leaves = [end if last.count(end) == 1 else part for part, end in zip(parts, last, strict=True)]
    return target_problems(config, lambda target: bool(matching(modules, translated([target], layout))), leaves)


def _length_problems(config: StudyConfig, facts: BaseFacts) -> list[Problem]:
    positions = int(facts.config.get("max_position_embeddings", 0))
    # RoBERTa's positions start behind the padding id
    usable = positions - int(facts.config.get("pad_token_id") or 0) - 1 if facts.model_type in _OFFSET else positions
    return length_problems(config, usable)


_OFFSET = ("roberta", "xlm-roberta", "camembert")


def _with_truncated(report: ValidationReport, splits: Splits, facts: BaseFacts, max_length: int) -> ValidationReport:
    """Count the texts that are longer than the model reads; not counted where the base has no tokenizer.json at
    hand."""
    file = Path(facts.source) / "tokenizer.json"
    if not file.is_file():
        return report
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise BaseModelError(f"base_model = {facts.name!r}: its tokenizer.json cannot be read ({error}).") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = {
        name: sum(len(encoding.ids) > max_length for encoding in tokenizer.encode_batch([row.text for row in rows]))
        for name, rows in splits.named().items()
    }
    return report.with_truncated(counts, max_length)


def targets_of(params: Mapping[str, Any], layout: EncoderLayout) -> list[str]:
    """The target modules of a trial in the base's words: its own, or the default of the layout."""
    targets = params.get("target_modules")
    return translated([targets] if isinstance(targets, str) else targets or default_targets(layout), layout)
