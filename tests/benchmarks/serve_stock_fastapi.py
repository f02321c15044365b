"""Stock side of `serve` without Ray: FastAPI on uvicorn, PEFT with every adapter loaded, `set_adapter` under a lock.

One process; FastAPI runs each request in its thread pool; one text a forward. Imports nothing of this project.
Started with a job's JSON: `port`, `base` (a folder), `adapters` (name -> PEFT folder), `threads` (torch's).
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from peft import PeftModel
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

MAX_TOKENS = 128


class Ask(BaseModel):
    """A text, and the adapter to ask."""

    text: str
    adapter: str


def app_of(job: dict[str, Any]) -> FastAPI:
    """The application with its model loaded."""
    torch.set_num_threads(job["threads"])
    tokenizer = AutoTokenizer.from_pretrained(job["base"])
    tokenizer(["a"], truncation=True, max_length=MAX_TOKENS)  # sets the truncation, which threads must not race for
    base = AutoModelForSequenceClassification.from_pretrained(job["base"], num_labels=2)
    (first, folder), *others = job["adapters"].items()
    model = PeftModel.from_pretrained(base, folder, adapter_name=first)
    for name, folder in others:
        model.load_adapter(folder, adapter_name=name)
    model.eval()
    lock = threading.Lock()
    app = FastAPI()

    @app.post("/sentiment/predict")
    def predict(ask: Ask) -> dict[str, Any]:
        if ask.adapter not in job["adapters"]:
            raise HTTPException(404, f"There is no adapter {ask.adapter!r}.")
        batch = tokenizer(ask.text, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with lock:
            model.set_adapter(ask.adapter)
            with torch.inference_mode():
                row = model(**batch).logits.softmax(-1)[0].tolist()
        label = max(range(len(row)), key=row.__getitem__)
        return {"label": label, "probability": row[label], "adapter": ask.adapter}

    return app


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    uvicorn.run(app_of(given), host="127.0.0.1", port=given["port"], log_level="warning")
