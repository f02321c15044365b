"""One file of a model on the Hugging Face hub, fetched without a word. Knows nothing of what it is for."""

from __future__ import annotations

import logging
from pathlib import Path

UNREACHABLE = "Check the spelling and the network, log in with `hf auth login` if it is gated, or name a local folder"
"""What to do where the hub cannot be asked, without a full stop."""


def fetch(hub_id: str, file: str, revision: str | None = None) -> Path:
    """Where the file lies once it is here. Raises whatever the client, its HTTP library and the disk raise, for the
    caller to put into a sentence."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    # it tells every retry; the one sentence of an error is enough
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return Path(hf_hub_download(hub_id, file, revision=revision))
    finally:
        if bars:
            enable_progress_bars()
