"""All that can be checked and read before a model loads: the base's facts, its chat template, the target modules, the
rows. Imports no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.bases import minilm
from tuner.bases.chat import ChatFormat
from tuner.bases.describe import BaseFacts, describe
from tuner.bases.shoe_chat.corpus import held_out
from tuner.config import StudyConfig
from tuner.data.chat import ChatRow, ChatSplits, load_chats
from tuner.data.fingerprint import fingerprint_splits
from tuner.data.validate_chat import clean_chats, validate_chats, without
from tuner.errors import BaseModelError, ConfigError
from tuner.lora.decoder_layouts import DecoderLayout, decoder_layout, default_targets, unknown_targets
from tuner.tasks.shoe_qa.knowledge import CATEGORIES, embedded_splits
from tuner.tasks.space_checks import length_problems, rank_problems, target_problems
from tuner.tasks.task import Prepared


@dataclass(frozen=True)
class QaData:
    """What an engine needs: the rows, texts in general language that preservation is measured on, and whether English
    answers are compared by sentence embeddings."""

    splits: ChatSplits
    general: tuple[str, ...]
    encoder: bool


def prepare(config: StudyConfig) -> Prepared:
    """Check base, space and rows. Raises BaseModelError, ConfigError, DataError; the base is looked at before the
    rows are read."""
    facts = describe(config.base_model, config.revision)
    _check_weights(facts)
    layout = decoder_layout(facts.model_type)
    leaves = [part.rpartition(".")[2] for part in layout.parts]
    problems = [
        *rank_problems(config, int(facts.config.get("hidden_size") or 0)),
        *target_problems(config, lambda target: not unknown_targets([target], layout), leaves),
        *length_problems(config, reach(facts.config)),
    ]
    if problems:
        raise ConfigError(problems)
    chat = ChatFormat.open(facts)
    splits = load_chats(config.data, embedded_splits)
    report = validate_chats(splits, CATEGORIES)
    report.raise_problems()
    kept = clean_chats(splits, report)
    truncated, unsupervised = _unfit(kept, chat, config.data.max_length)
    report = report.with_truncated(truncated, unsupervised, config.data.max_length)
    report.raise_problems()
    kept = without(kept, unsupervised)
    english = any(row.language == "en" for rows in (kept.validation, kept.test) for row in rows)
    encoder = english and importlib.util.find_spec(minilm.PACKAGE) is not None
    compared = "sentence embeddings (MiniLM) for English, " if encoder else ""
    summary: dict[str, Any] = {
        **report.to_json(),
        "source": config.data.source if config.data.train is None else str(config.data.train),
        "notes": [*kept.notes, f"Meaning is compared by {compared}character n-grams for the rest."],
        "fingerprints": {name: print_.sequence for name, print_ in fingerprint_splits(kept).items()},
        "base": {"name": facts.name, "architecture": facts.model_type, "checksum": facts.checksum},
    }
    general = tuple(line["text"] for line in held_out())
    return Prepared(data=QaData(kept, general, encoder), summary=summary, warnings=report.warnings)


def tokenised(chat: ChatFormat, row: ChatRow, max_length: int) -> tuple[list[int], list[int]]:
    """Tokens of a row's prompt and of its answer with the token that ends it, cut off at `max_length` together."""
    turns = [{"role": turn.role, "content": turn.text} for turn in row.turns]
    prompt = chat.prompt(turns)[:max_length]
    return prompt, chat.answer(turns, row.answer)[: max_length - len(prompt)]


def targets_of(params: Mapping[str, Any], layout: DecoderLayout) -> list[str]:
    """The target modules of a trial: its own, or the layout's default."""
    targets = params.get("target_modules")
    return [targets] if isinstance(targets, str) else list(targets or default_targets(layout))


def system_of(rows: Sequence[ChatRow]) -> str:
    """What every conversation begins with, "" where they do not agree."""
    found = {row.turns[0].text if row.turns and row.turns[0].role == "system" else "" for row in rows}
    return found.pop() if len(found) == 1 else ""


def _unfit(splits: ChatSplits, chat: ChatFormat, max_length: int) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """How many rows of each split are cut short, and the places of those of whose answer nothing is left."""
    truncated: dict[str, int] = {}
    unsupervised: dict[str, tuple[int, ...]] = {}
    for name, rows in splits.named().items():
        made = [tokenised(chat, row, max_length) for row in rows]
        unsupervised[name] = tuple(at for at, (_, answer) in enumerate(made) if not answer)
        short = sum(answer[-1] not in chat.stop for _, answer in made if answer)
        truncated[name] = short + len(unsupervised[name])
    return truncated, unsupervised


def reach(config: Mapping[str, Any]) -> int:
    """How many tokens a base reads with full attention and its positions unchanged; 0 where its config does not say.

    Positions that are stretched by the longest text of a forward would tie a row to its company.
    """
    found = [config.get("max_position_embeddings")]
    if config.get("use_sliding_window") is not False:
        found.append(config.get("sliding_window"))
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if isinstance(rope, Mapping) and rope.get("rope_type", rope.get("type")) in ("longrope", "dynamic", "su"):
        found.append(rope.get("original_max_position_embeddings", config.get("original_max_position_embeddings")))
    return min((int(each) for each in found if isinstance(each, int) and each > 0), default=0)


def _check_weights(facts: BaseFacts) -> None:
    """Raises BaseModelError for weights that were quantised before: adapters need the plain ones."""
    if facts.config.get("quantization_config"):
        raise BaseModelError(
            f"base_model = {facts.name!r}: its weights are quantised already. Name the model they were made from; "
            "memory.base_4bit: true holds that in 4 bits."
        )
