"""A commented study config for the user's own questions and answers: every line says why, from what was found.

Knows rules of thumb and one base, the embedded one; tokens are estimated from characters. The text holds under
`StudyConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.data.chat_columns import CONTENT, ChatColumns
from tuner.data.chat_formats import formats_of, read_conversations
from tuner.data.chat_row import ChatRow
from tuner.data.columns import MAX_CLASSES, Column
from tuner.data.language import NAMES, detect_language
from tuner.data.suggest_lines import decimal, described, other_language, quoted, source_reason
from tuner.data.table import Table
from tuner.errors import DataError, Problem

# Above this many rows a search learns as much from a sample, in a fraction of the time.
_MANY_ROWS, _SAMPLE = 6_000, 3_000
# Every report of every trial writes an answer to each validation row; test rows are answered by the best few alone.
_MOST_ANSWERED = {"validation": 80, "test": 200}
_SHARE = 0.15
# Tokens: the embedded base reads no more than the first; others are given no more than the second. Cutting short is all
# that max_length does, so that too much costs nothing; general texts are cut there as well, hence the least.
_EMBEDDED_READS, _MOST_TOKENS, _LEAST_TOKENS = 1024, 2048, 128
_TURN_TOKENS = 4  # what a chat template writes around a turn
_SPLITTING = 2  # the embedded base's small vocabulary: 1.7 times the estimate on general text, 2.3 at worst but for 5 %
_BATCH = 8
_POINT_MB = 1.7  # the start point's adapter, rank 16 on attention and MLP of the embedded base, in fp32


@dataclass(frozen=True)
class _Found:
    """What was read: answers of every split, and of the train table its conversations and its formats."""

    rows: Mapping[str, Sequence[ChatRow]]
    conversations: int
    formats: Sequence[str]

    @property
    def train(self) -> Sequence[ChatRow]:
        return self.rows["train"]


def chat_config(path: Path, tables: Mapping[str, Table], columns: Sequence[Column], chat: ChatColumns) -> str:
    """The text of a YAML config for the task shoe_qa. `tables` are those by split, a train table among them, which has
    `columns`. Raises DataError with every row that cannot be read, or if none has both question and answer."""
    found = _read(tables, chat)
    language = detect_language(f"{row.question} {row.answer}" for row in found.train)
    size = f"{len(found.train):,} answers of {found.conversations:,} conversations"
    if len(found.train) == found.conversations:
        size = f"{len(found.train):,} rows"
    characters, tokens = _longest(found)
    split_lines, rows = _splits(tables, found)
    lines = [
        f"# A question-answer study on {quoted(path.name)}, written by `tuner init` from {size}.",
        "# Change what you know better. `tuner plan --config FILE` measures how long it takes: long answers take long.",
        "# What was found in its columns:",
        *(f"#   {described(column, 'used where they are turns')}" for column in columns),
        "",
        f"task: shoe_qa  # learns to answer questions; the rows are read as {' and '.join(found.formats)}",
        *_few_answers(found.train),
        f"base_model: shoe_chat  # the texts: {NAMES.get(language, 'no known script')}; this base: small, for two CPU "
        "cores, and here without a network",
        "# It knows footwear and its mildew and nothing else. Other subjects want a larger base, on a GPU: qwen25_1b5",
        "# (16 GB) or llama32_3b (24 GB, gated). Then take base_model, space, start_points and search from",
        f"# search_spaces/shoe_qa/NAME.yaml, leave score out, and let max_length be {_rounded(tokens, _MOST_TOKENS)}.",
        *other_language(language),
        "",
        "data:",
        f"  source: {quoted(str(path))}  # {source_reason(tables)}",
        *_columns(chat),
        *_max_length(characters, tokens),
        *split_lines,
        "",
        *_space(rows),
        "",
        *_search(rows),
    ]
    return "\n".join(lines) + "\n"


def _read(tables: Mapping[str, Table], chat: ChatColumns) -> _Found:
    problems: list[Problem] = []
    talks = {split: read_conversations(table, chat.renamed, problems, []) for split, table in tables.items()}
    if problems:
        raise DataError(problems)
    rows = {
        split: [row for talk in found for row in talk if row.question and row.answer] for split, found in talks.items()
    }
    if not rows["train"]:
        rule = "no row has both a question and an answer"
        raise DataError(Problem(f"data ({tables['train'].name})", None, rule, "Export it again with its answers."))
    formats = [_plain(form.name) for form in formats_of(tables["train"].columns, chat.renamed)]
    return _Found(rows, sum(any(row.question and row.answer for row in talk) for talk in talks["train"]), formats)


def _plain(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _few_answers(rows: Sequence[ChatRow]) -> list[str]:
    distinct = len({row.answer for row in rows})
    if distinct > min(MAX_CLASSES, len(rows) // 4):
        return []
    return [f"# Its answers have {distinct} distinct values. Are they classes? Then: tuner init --task sentiment"]


def _columns(chat: ChatColumns) -> list[str]:
    if not chat.renamed:
        return ["  # its columns have their usual names, so none is named here"]
    reasons = {
        "question": "what is asked",
        "answer": "what is to be learnt",
        "conversations": "lists of turns",
        "input": "stands below the question",
        "system": "stands before the question",
        "history": "what was said before",
        "key_facts": "what an answer must hold",
    }
    sure = "; a guess from what it holds: CHECK IT" if chat.sure == CONTENT else ""
    lines = (f"    {field}: {quoted(column)}  # {reasons[field]}{sure}" for field, column in chat.renamed.items())
    return ["  columns:", *lines]


def _longest(found: _Found) -> tuple[int, int]:
    """Characters and about how many tokens the longest row has, turns and answer together."""
    longest = max((row for rows in found.rows.values() for row in rows), key=_tokens)
    return sum(len(turn.text) for turn in longest.turns) + len(longest.answer), math.ceil(_tokens(longest))


def _max_length(characters: int, tokens: int) -> list[str]:
    length = _rounded(_SPLITTING * tokens, _EMBEDDED_READS)
    why = "this base reads no more, so longer rows are cut short" if length < _SPLITTING * tokens else "nothing is cut"
    return [
        f"  # the longest row has {characters:,} characters, about {tokens:,} tokens, twice that in a small vocabulary",
        f"  max_length: {length}  # {why}",
    ]


def _rounded(tokens: int, most: int) -> int:
    return min(most, max(_LEAST_TOKENS, 64 * math.ceil(tokens / 64)))


def _tokens(row: ChatRow) -> float:
    """About one a sign of Chinese, Japanese or Korean, and one for four others."""
    texts = [*(turn.text for turn in row.turns), row.answer]
    wide = sum(character >= "\u2e80" for text in texts for character in text)
    return wide + (sum(map(len, texts)) - wide) / 4 + _TURN_TOKENS * len(texts)


def _splits(tables: Mapping[str, Table], found: _Found) -> tuple[list[str], int]:
    """The lines on splits and samples, and how many rows are then trained on."""
    total = left = len(found.train)
    lines, samples = [], []
    cut = [split for split in _MOST_ANSWERED if split not in tables]
    whole = {"validation": "each report of each trial writes an answer to each", "test": "the best answer these"}
    for split, most in _MOST_ANSWERED.items():
        there = len(found.rows.get(split, ())) or round(_SHARE * total)
        if split in cut:
            # A few more than are asked for, because rows that belong together are not cut apart.
            share = decimal(min(_SHARE, 1.25 * most / total))
            rows = round(float(share) * total)
            left -= rows
            lines.append(f"  {split}_share: {share}  # no {split} file, so about {rows:,} rows are cut for it")
        if there > most:
            samples.append(f"  {split}_samples: {most}  # {whole[split]}, and more would tell little more")
    if cut:
        lines.append(f"  split_seed: 0  # the same number cuts the same rows ({' and '.join(cut)})")
    if total > _MANY_ROWS:
        samples.insert(
            0, f"  train_samples: {_SAMPLE}  # enough to rank configurations; delete it to use all {left:,} rows"
        )
        left = _SAMPLE
    return [*lines, *samples], left


def _epochs(rows: int) -> tuple[int, int, int]:
    """Fewest, most, and those of the start point."""
    return (4, 12, 8) if rows < 500 else (3, 8, 6) if rows < 2_000 else (2, 5, 3)


def _space(rows: int) -> list[str]:
    low, high, _ = _epochs(rows)
    return [
        "space:",
        "  # the capacity of an adapter; each doubling may help, so the scale is logarithmic",
        "  rank: {type: int, low: 8, high: 32, log: true}",
        "  # a small base bears large steps; what matters is the order of magnitude, and the top may diverge",
        "  learning_rate: {type: float, low: 0.0005, high: 0.01, log: true}",
        f"  # {rows:,} training rows: answers take several passes to stick{', few rows more of them' * (rows < 500)}",
        f"  epochs: {{type: int, low: {low}, high: {high}}}",
        "  # how strongly an adapter acts, over its rank",
        "  alpha: {type: choice, values: [16, 32]}",
        "  # layers that get an adapter: the attention, or the MLP as well, where facts are kept",
        "  target_modules:",
        "    type: choice",
        "    values:",
        "      - [q_proj, k_proj, v_proj, o_proj]",
        "      - [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]",
        f"  batch_size: {_BATCH}  # about {max(1, rows // _BATCH):,} steps an epoch",
        "  # large first steps can throw an adapter off",
        "  warmup_ratio: {type: choice, values: [0.0, 0.05]}",
        "  schedule: constant  # so that trials of different epochs compare",
    ]


def _search(rows: int) -> list[str]:
    epochs = _epochs(rows)[2]
    steps = max(1, rows // _BATCH) * epochs
    edge = _POINT_MB / steps
    return [
        "start_points:  # tried first, so that the search is never worse than a sensible hand-made choice",
        f"  - {{rank: 16, learning_rate: 0.002, epochs: {epochs}, alpha: 32, warmup_ratio: 0.05,",
        "     target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]}",
        "",
        "search:",
        "  trials: 12  # enough for the sampler to leave its random start-up behind",
        "  seed: 0  # the same number searches the same way",
        "  startup_trials: 5  # spread over the space before the search models what it has seen",
        "  reports_per_epoch: 1  # a report writes an answer to every validation row",
        "  patience: 3  # reports without a better rubric, then a trial ends",
        "  asha: {grace_epochs: 1, reduction_factor: 3}  # weak trials stop after one epoch; a third goes on",
        "  top_k: 2  # differences among the best are often seed noise...",
        "  top_k_seeds: 2  # ...so these are trained again from another seed",
        "",
        "score:",
        "  bands:",
        f"    # the start point's adapter, about {_POINT_MB} MB, takes {steps:,} steps here: {decimal(edge)} MB each.",
        "    # The edges only set apart adapters that cost many times that.",
        f"    efficiency: {{excellent: {decimal(edge * 5)}, good: {decimal(edge * 10)}, average: {decimal(edge * 20)}, "
        "higher_is_better: false}",
        "    # the rubric of its answers: a base of this size does not reach what larger ones do",
        "    quality: {excellent: 0.65, good: 0.55, average: 0.45}",
        "    # exp(-(rise in loss on general text)): such a base forgets much when it learns",
        "    preservation: {excellent: 0.5, good: 0.35, average: 0.2}",
    ]
