"""What a replica counts, for Prometheus; and the expositions of several replicas as one.

Each `Meters` has a registry of its own. Label values come from the code, the route table and the adapter registry,
never from a request; adapters beyond the thousandth are counted as "other", so the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ADAPTERS = 1000
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Meters:
    """The counters of one application in one replica. All methods are cheap and may be called from any thread."""

    def __init__(self, app: str) -> None:
        self.app = app
        self._registry = CollectorRegistry()
        self._adapters: set[str] = set()
        self._by_request: dict[tuple[str, int, str], Counter] = {}
        self._by_route: dict[str, Histogram] = {}
        self._requests = self._counter("serve_requests", "HTTP requests", "route", "status", "adapter")
        self._seconds = self._histogram("serve_request_seconds", "Seconds to a whole answer", _SECONDS, "route")
        self._batches = self._histogram("serve_batch_size", "Rows in a forward pass", _BATCHES).labels(app)
        self._forward = self._histogram("serve_forward_seconds", "Seconds of a forward pass", _SECONDS).labels(app)
        self._queue = self._gauge("serve_queue_length", "Requests that wait for the forward thread")
        self._rows = self._counter("serve_adapter_rows", "Rows answered, by adapter", "adapter")
        self._swaps = self._counter("serve_swaps", "Adapters brought in or changed, by result", "result")
        self._errors = self._counter("serve_errors", "Errors, by kind", "kind")
        self._resident = self._gauge("serve_adapters_resident", "Adapters in memory")
        self._bytes = self._gauge("serve_adapters_resident_bytes", "Bytes of the adapters in memory")
        self._shadow = self._counter("serve_shadow_comparisons", "Answers compared in shadow, by result", "result")
        self._desk = self._counter("serve_rate_desk_failures", "Times the rate desk did not answer").labels(app)

    def request(self, route: str, status: int, adapter: str | None, seconds: float) -> None:
        """An answered request. `route` is the template of the route table, never a path that was asked for."""
        labels = (route, status, self._label(adapter))
        counter = self._by_request.get(labels)
        if counter is None:
            counter = self._by_request[labels] = self._requests.labels(self.app, *labels)
        counter.inc()
        histogram = self._by_route.get(route)
        if histogram is None:
            histogram = self._by_route[route] = self._seconds.labels(self.app, route)
        histogram.observe(seconds)

    def forward(self, rows: int, seconds: float) -> None:
        """A forward pass of the base over a batch."""
        self._batches.observe(rows)
        self._forward.observe(seconds)

    def rows(self, adapter: str | None, count: int) -> None:
        """Rows that an adapter of the registry (None: the base alone) answered."""
        self._rows.labels(self.app, self._label(adapter)).inc(count)

    def queue(self, length: int) -> None:
        """How many requests wait now."""
        self._queue.set(length)

    def resident(self, adapters: int, size: int) -> None:
        """How many adapters are in memory now, and their bytes."""
        self._resident.set(adapters)
        self._bytes.set(size)

    def swap(self, result: str) -> None:
        """An adapter was brought in, or not: "ok" or a word for the failure."""
        self._swaps.labels(self.app, result).inc()

    def error(self, kind: str) -> None:
        """An error, by a word of the code."""
        self._errors.labels(self.app, kind).inc()

    def shadow(self, result: str) -> None:
        """A comparison in shadow mode: "same", "different" or "failed"."""
        self._shadow.labels(self.app, result).inc()

    def desk_failed(self) -> None:
        """The rate desk did not answer in time."""
        self._desk.inc()

    def exposition(self) -> bytes:
        """Everything counted so far, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _label(self, adapter: str | None) -> str:
        if adapter is None:
            return ""
        if adapter not in self._adapters:
            if len(self._adapters) >= _ADAPTERS:
                return "other"
            self._adapters.add(adapter)
        return adapter

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, ("app", *labels), registry=self._registry)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, ("app",), registry=self._registry).labels(self.app)

    def _histogram(self, name: str, words: str, edges: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, words, ("app", *labels), buckets=edges, registry=self._registry)


def merged(texts: Mapping[str, bytes]) -> bytes:
    """The expositions of several replicas, by replica, as one: each sample with a label `replica`, each family once.

    The texts are those of `Meters.exposition`. They are joined line by line: parsing those of three replicas with a
    thousand adapters would hold up the event loop for a tenth of a second. The times at which counters were made,
    a third of all lines, are left out."""
    families: dict[str, _Family] = {}
    for replica, text in texts.items():
        escaped = replica.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        label = f'replica="{escaped}"'
        family: _Family | None = None
        for line in text.decode("utf-8").split("\n"):
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                family = None if name.endswith("_created") else families.setdefault(name, _Family(line))
            elif family is None or not line:
                continue
            elif line.startswith("# TYPE "):
                family.type = line
            elif (brace := line.find("{")) >= 0:
                family.samples.append(f"{line[: brace + 1]}{label},{line[brace + 1 :]}")
            else:
                name, _, value = line.partition(" ")
                family.samples.append(f"{name}{{{label}}} {value}")
    lines = [line for family in families.values() for line in (family.help, family.type, *family.samples)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


@dataclass
class _Family:
    help: str
    type: str = ""
    samples: list[str] = field(default_factory=list)
