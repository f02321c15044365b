"""Stock side of `serve` on Ray Serve, as its documentation teaches: a deployment with a FastAPI ingress and
`@serve.batch`, and PEFT's mixed batches.

Imports nothing of this project. Started with a job's JSON: `port`, `base` (a folder), `adapters` (name -> PEFT folder),
`threads` (torch's). Which proxy Ray Serve starts, its own or HAProxy, is up to the environment. Annotations are not
postponed here: Ray carries the class to its replica without this module, where FastAPI could not look their names up.
"""

import json
import signal
import sys
from typing import Any

import ray
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from ray import serve

MAX_TOKENS = 128
app = FastAPI()


class Ask(BaseModel):
    """A text, and the adapter to ask."""

    text: str
    adapter: str


@serve.deployment(max_ongoing_requests=64)
@serve.ingress(app)
class Sentiment:
    """One replica: the model with every adapter loaded."""

    def __init__(self, job: dict[str, Any]) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.torch = torch
        torch.set_num_threads(job["threads"])
        self.names = frozenset(job["adapters"])
        self.tokenizer = AutoTokenizer.from_pretrained(job["base"])
        base = AutoModelForSequenceClassification.from_pretrained(job["base"], num_labels=2)
        (first, folder), *others = job["adapters"].items()
        self.model = PeftModel.from_pretrained(base, folder, adapter_name=first)
        for name, folder in others:
            self.model.load_adapter(folder, adapter_name=name)
        self.model.eval()

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def answers(self, asks: list[Ask]) -> list[dict[str, Any]]:
        """Answer a batch in one forward."""
        batch = self.tokenizer(
            [ask.text for ask in asks], truncation=True, max_length=MAX_TOKENS, padding=True, return_tensors="pt"
        )
        with self.torch.inference_mode():
            rows = self.model(**batch, adapter_names=[ask.adapter for ask in asks]).logits.softmax(-1).tolist()
        labels = [max(range(len(row)), key=row.__getitem__) for row in rows]
        return [
            {"label": label, "probability": row[label], "adapter": ask.adapter}
            for ask, row, label in zip(asks, rows, labels, strict=True)
        ]

    @app.post("/sentiment/predict")
    async def predict(self, ask: Ask) -> dict[str, Any]:
        """Answer one request."""
        if ask.adapter not in self.names:
            raise HTTPException(404, f"There is no adapter {ask.adapter!r}.")
        return await self.answers(ask)


def main() -> None:
    """Serve until SIGTERM."""
    job = json.loads(sys.argv[1])
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # after Ray, which sets its own
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": job["port"]})
        serve.run(Sentiment.bind(job))
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
