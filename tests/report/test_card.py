"""The model card: valid front matter, the study's own numbers, and plain words where a number is missing."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import replace
from typing import Any

import yaml

from tests.store.factory import params, study, trial
from tuner.report.card import MAX_TRIALS, model_card
from tuner.store.records import PRUNED, StudyRecord


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    fields: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return fields


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ")[0]


def winner_with(record: StudyRecord, **changes: Any) -> StudyRecord:
    assert record.winner is not None
    return replace(record, winner=replace(record.winner, **changes))


def kept(record: StudyRecord) -> dict[str, float]:
    """Test metrics of the winner's run that did best on validation."""
    assert record.winner is not None
    runs = [run for run in record.reruns if run.trial_id == record.winner.trial_id]
    return max(runs, key=lambda run: run.validation["score"]).test


def test_front_matter_is_what_hubs_read() -> None:
    record = study()
    fields = front_matter(model_card(record))
    assert record.winner is not None
    assert (fields["base_model"], fields["library_name"]) == ("minilm", "peft")
    assert fields["pipeline_tag"] == "text-classification"
    assert {"lora", "peft", "sentiment"} <= set(fields["tags"])
    assert fields["metrics"] == ["accuracy", "f1"]
    result = fields["model-index"][0]["results"][0]
    assert result["metrics"][0]["value"] == round(kept(record)["accuracy"], 6)  # of this adapter, not the mean


def test_the_score_with_interval_components_grades_and_test() -> None:
    record = study()
    assert record.winner is not None
    text = section(model_card(record), "Score")
    low, high = record.winner.interval or (0.0, 0.0)
    assert f"**{record.winner.score:.4f}** (mean of 3 seeds, 95 % interval {low:.4f} to {high:.4f})" in text
    assert "graded excellent" in text
    accuracy = f"| accuracy | {record.winner.metrics['accuracy']:.4f} | {record.winner.test['accuracy']:.4f} |"
    assert f"{accuracy} {kept(record)['accuracy']:.4f} |" in text
    assert re.search(r"\| preservation \| 0\.\d{4} \| 0\.\d{4} \| 0\.\d{4} \| excellent \|", text)
    assert re.search(r"\| score: quality \| .* \| good \|", text)
    how_it_went = "samples|loss|samples per second|learning rate|cpu percent|memory mb|engine samples per second"
    assert not re.search(rf"\| ({how_it_went}) \|", text)
    assert "(winner)" in text


def test_the_loss_of_both_splits_stands_in_one_row() -> None:
    metrics, test = {"validation_loss": 0.31, "loss": 0.2}, {"test_loss": 0.35}
    text = section(model_card(winner_with(study(reruns=()), metrics=metrics, test=test)), "Score")
    assert "| loss | 0.3100 | 0.3500 | 0.3500 |" in text


def test_data_counts_fingerprints_and_warnings() -> None:
    text = section(model_card(study()), "Data")
    assert "| train | 1000 | negative 500, positive 500 | `abababababababab` |" in text
    assert "2 rows stand in both train and validation" in text


def test_labels_have_their_names() -> None:
    record = study()
    data = {
        **record.data,
        "splits": {"train": {"total_samples": 4, "label_counts": {"0": 1, "1": 3}}},
        "label_names": ["negative", "positive"],
    }
    text = section(model_card(replace(record, data=data)), "Data")
    assert "negative (0) 1, positive (1) 3" in text
    assert "| test | not recorded | not recorded | not recorded |" in text


def test_the_space_and_what_won() -> None:
    record = study()
    assert record.winner is not None
    text = section(model_card(record), "Search space")
    assert f"| `rank` | 2 to 32, log scale | {record.winner.params['rank']} |" in text
    assert "one of query + value; query + key + value" in text
    assert "| `schedule` | fixed at constant | constant |" in text


def test_conditions_of_the_space_are_told() -> None:
    space = {"alpha": {"type": "choice", "values": [8, 16], "when": {"rank": [4, 8]}}}
    assert "(only when rank is 4 or 8)" in section(model_card(study(config={"space": space})), "Search space")


def test_every_trial_in_short_best_first() -> None:
    text = section(model_card(study()), "Trials")
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert len(lines) == 16
    assert "failed: the loss is not finite | none | 0 |" in lines[-1]
    assert "stopped early: stopped at the rung of 500 samples" in text


def test_many_trials_end_in_a_count() -> None:
    record = study(trials=MAX_TRIALS + 7)
    text = section(model_card(record), "Trials")
    assert len([line for line in text.splitlines() if line.startswith("|")]) == MAX_TRIALS + 2
    assert "and 7 more trials" in text


def test_the_command_engines_and_versions_to_reproduce() -> None:
    text = section(model_card(study()), "Reproduce")
    assert "```\ntuner tune sentiment --space minilm --trials 16\n```" in text
    assert "cpu on cpu in bf16" in text
    assert "torch 2.14" in text


def test_limits_follow_from_the_rows() -> None:
    text = section(model_card(study()), "Limits")
    assert "Trained on 1,000 rows" in text
    assert "compared on 300 validation rows" in text
    record = study()
    assert record.winner is not None
    p = kept(record)["accuracy"]
    assert f"about {196 * math.sqrt(p * (1 - p) / 300):.1f} points" in text


def test_the_code_to_load_it_is_python() -> None:
    for base in ("minilm", "distilbert-base-uncased"):
        code = section(model_card(study(base_model=base)), "How to load it").split("```")[1].removeprefix("python\n")
        ast.parse(code)
        assert "AutoModelForSequenceClassification" in code
        assert "num_labels=2" in code
        assert ("tuner.bases" in code) == (base == "minilm")


def test_nothing_is_made_up_where_nothing_was_measured() -> None:
    record = winner_with(study(), test={}, interval=None, seeds=1, metrics={"score": 0.8}, grades={})
    card = model_card(replace(record, reruns=(), data={}, engines=(), versions={}, command=""))
    assert "model-index" not in front_matter(card)
    assert "Test metrics are missing" in card
    assert "One seed only" in card
    assert "an unrecorded number of rows" in card
    assert "The command is not recorded" in card
    assert "Engines: not recorded. Versions: not recorded." in card
    assert "was not measured" in section(card, "Limits")
    assert "nan" not in card.lower().replace("finance", "")


def test_a_number_that_is_none_is_missing() -> None:
    record = winner_with(study(reruns=()), metrics={"accuracy": math.nan}, test={"accuracy": math.inf})
    card = model_card(record)
    assert "| accuracy | not recorded | not recorded | not recorded |" in card
    assert "model-index" not in front_matter(card)


def test_a_study_without_winner_says_so() -> None:
    card = model_card(replace(study(), winner=None, reruns=(), state="interrupted"))
    assert "The study is interrupted and has not chosen one of its 16 trials" in card
    assert "no winner, so there is no score" in card


def test_an_empty_study_has_a_card() -> None:
    assert "No trial was run." in model_card(study(trials=0))


def test_paths_on_somebodys_disk_are_not_published() -> None:
    data = {**study().data, "source": "/home/somebody/secret/reviews.csv"}
    card = model_card(study(base_model="/home/somebody/models/mine", data=data))
    assert "somebody" not in card
    assert front_matter(card)["base_model"] == "mine"
    assert "reviews.csv" in card


def test_strange_text_breaks_no_table() -> None:
    done = replace(trial(1, PRUNED), message="a | b\nc", params={**params(1), "schedule": "x|y"})
    text = section(model_card(replace(study(trials=0), trials=(done,))), "Trials")
    assert "a \\| b c" in text
