"""What the metrics of training logs mean, in one sentence each. Knows nothing of any particular log."""

from __future__ import annotations

import re

_MEANINGS: tuple[tuple[str, str], ...] = (
    ("loss", "training loss, the mean since the last entry; it says how well the training rows are fitted, no more"),
    ("train_loss", "training loss, the mean over all steps of the run"),
    ("eval_loss", "loss on rows that are not trained on; where it turns up, overfitting begins"),
    ("eval_accuracy", "share of evaluation rows answered right"),
    ("grad_norm", "size of the gradient before clipping; spikes are steps that may undo what was learned"),
    ("learning_rate", "size of the optimizer's steps at this moment of the schedule"),
    ("epoch", "passes over the training rows so far"),
    ("step", "optimizer steps so far"),
    ("current_steps", "optimizer steps so far"),
    ("total_steps", "optimizer steps that the run will take"),
    ("num_input_tokens_seen", "tokens read so far, padding included"),
    ("throughput", "tokens a second, as the trainer counts them"),
    ("total_flos", "floating-point operations of the run, as the trainer estimates them"),
    ("score", "overall tuning score of a trial's best report"),
    ("reports", "how often a trial was scored"),
    (r"predict_bleu-\d", "overlap of word sequences of up to four words with the reference answer, 0 to 100"),
    (r"predict_rouge-1", "single words shared with the reference answer, 0 to 100"),
    (r"predict_rouge-2", "pairs of neighbouring words shared with the reference answer, 0 to 100"),
    (r"predict_rouge-l", "longest sequence of words in the reference's order, 0 to 100"),
    (r"\w+_model_preparation_time", "seconds from loading the model to its first batch"),
    (r"\w+_runtime", "seconds that this phase took"),
    (r"\w+_samples_per_second", "rows a second"),
    (r"\w+_steps_per_second", "batches a second"),
    (r"eval_\S+", "a measure of the evaluation rows, under the name that the trainer gave it"),
    (r"predict_\S+", "a measure of the predicted answers, under the name that the trainer gave it"),
)


def meaning(metric: str) -> str:
    """What a metric says, "" for one that is not known."""
    return next((text for pattern, text in _MEANINGS if re.fullmatch(pattern, metric, re.IGNORECASE)), "")
