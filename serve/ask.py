"""Asks a running server about a text, or how it is, and prints its answer: what `make predict-text` runs.

The server is at $URL, the API key in $KEY. Exit code 1 where the server does not answer, or answers with an error.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.error
import urllib.request

from tuner.store.web import opener, trouble

TIMEOUT_S = 30.0


def main(arguments: list[str]) -> int:
    """Print what the server says."""
    if len(arguments) != 1:
        print("Use: python -m serve.ask TEXT, or: python -m serve.ask health", file=sys.stderr)
        return 2
    url, key = os.environ.get("URL") or "http://127.0.0.1:8000", os.environ.get("KEY", "")
    headers = {"Content-Type": "application/json", **({"X-API-Key": key} if key else {})}
    path: str = "/readyz"
    body: bytes | None = None
    if arguments[0] != "health":
        path, body = "/sentiment/predict", json.dumps({"text": arguments[0]}).encode()
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("not an address of http")
        request = urllib.request.Request(f"{url}{path}", body, headers)
        with opener().open(request, timeout=TIMEOUT_S) as answer:
            print(answer.read().decode())
            return 0
    except urllib.error.HTTPError as error:
        print(error.read().decode(errors="replace"))
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"{url} does not answer ({trouble(error, TIMEOUT_S)}). Start it with: make serve", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
