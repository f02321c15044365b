"""How the versions of a split fare, and when one on trial has to go.

The first version of a split stands; the others are on trial. Each is judged by its last `requests`: the share that
failed, and the mean seconds of those that did not. Knows no registry: it says what is over a limit, and who holds the
alias acts.
"""

from __future__ import annotations

from collections import deque

from tuner.registry import Target


class Trial:
    """One alias's split with limits."""

    def __init__(self, target: Target) -> None:
        assert target.limits is not None
        self.target = target
        self._limits = target.limits
        self._seen: dict[str, deque[float | None]] = {
            share.version: deque(maxlen=target.limits.requests) for share in target.split
        }

    def add(self, version: str, seconds: float, *, failed: bool) -> str:
        """Count a request. Why this version has to go, "" while it may stay or stands first. A version that is not of
        this split is passed over."""
        seen = self._seen.get(version)
        if seen is None:
            return ""
        seen.append(None if failed else seconds)
        if version == self.target.split[0].version or len(seen) < self._limits.requests:
            return ""
        return self._over(version)

    def _over(self, version: str) -> str:
        limits, seen = self._limits, self._seen[version]
        errors = sum(value is None for value in seen) / len(seen)
        if limits.max_errors is not None and errors > limits.max_errors:
            return f"{errors:.1%} of its last {len(seen)} requests failed, and {limits.max_errors:.1%} may"
        mean, first = _mean(seen), _mean(self._seen[self.target.split[0].version])
        if mean is None:
            return ""
        if limits.max_latency_ms is not None and mean * 1e3 > limits.max_latency_ms:
            return f"it answers in {mean * 1e3:.0f} ms on average, and {limits.max_latency_ms:g} ms are allowed"
        if limits.max_latency_ratio is not None and first is not None and mean > limits.max_latency_ratio * first:
            return (
                f"it answers in {mean * 1e3:.0f} ms on average, over {limits.max_latency_ratio:g} times the "
                f"{first * 1e3:.0f} ms of {self.target.split[0].version}"
            )
        return ""


def _mean(seen: deque[float | None]) -> float | None:
    known = [value for value in seen if value is not None]
    return sum(known) / len(known) if known else None
