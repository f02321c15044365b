"""Metrics: what is counted can be read by Prometheus, and several replicas make one valid exposition."""

from __future__ import annotations

from collections import defaultdict

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from serve.meters import Meters, merged

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    """Every sample of an exposition by its name and labels. No family may come twice."""
    families = list(text_string_to_metric_families(text.decode()))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    assert all(family.documentation and family.type for family in families)
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            place = (sample.name, tuple(sorted(sample.labels.items())))
            assert place not in found
            found[place] = sample.value
    return found


def busy(app: str, times: int) -> Meters:
    """Meters after some work."""
    meters = Meters(app)
    for _ in range(times):
        meters.request("/predict", 200, "sentiment/reviews@1", 0.02)
        meters.request("/healthz", 200, None, 0.001)
        meters.forward(16, 0.03)
        meters.rows("sentiment/reviews@1", 4)
    meters.queue(3)
    meters.resident(2, 4096)
    meters.swap("ok")
    meters.error("queue_full")
    meters.shadow("same")
    meters.desk_failed()
    return meters


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_everything_is_in_the_exposition() -> None:
    found = samples(busy("sentiment", 2).exposition())
    app = {"app": "sentiment"}
    for expected, name, labels in [
        (2, "serve_requests_total", {"route": "/predict", "status": "200", "adapter": "sentiment/reviews@1"}),
        (2, "serve_requests_total", {"route": "/healthz", "status": "200", "adapter": ""}),
        (2, "serve_request_seconds_count", {"route": "/predict"}),
        (0, "serve_request_seconds_bucket", {"route": "/predict", "le": "0.01"}),
        (2, "serve_request_seconds_bucket", {"route": "/predict", "le": "0.025"}),
        (2, "serve_batch_size_bucket", {"le": "16.0"}),
        (0, "serve_batch_size_bucket", {"le": "8.0"}),
        (0.06, "serve_forward_seconds_sum", {}),
        (8, "serve_adapter_rows_total", {"adapter": "sentiment/reviews@1"}),
        (3, "serve_queue_length", {}),
        (2, "serve_adapters_resident", {}),
        (4096, "serve_adapters_resident_bytes", {}),
        (1, "serve_swaps_total", {"result": "ok"}),
        (1, "serve_errors_total", {"kind": "queue_full"}),
        (1, "serve_shadow_comparisons_total", {"result": "same"}),
        (1, "serve_rate_desk_failures_total", {}),
    ]:
        assert value(found, name, **app, **labels) == expected, name


def test_nothing_is_global() -> None:
    before = {family.name for family in REGISTRY.collect()}
    one, two = Meters("a"), Meters("a")
    one.swap("ok")
    assert b'serve_swaps_total{app="a"' not in two.exposition()
    assert {family.name for family in REGISTRY.collect()} == before


def test_adapters_are_bounded() -> None:
    meters = Meters("a")
    for number in range(1500):
        meters.rows(f"adapter@{number}", 1)
        meters.request("/predict", 200, f"adapter@{number}", 0.01)
    found = samples(meters.exposition())
    assert sum(name == "serve_adapter_rows_total" for name, _ in found) == 1001
    assert sum(name == "serve_requests_total" for name, _ in found) == 1001
    assert value(found, "serve_adapter_rows_total", app="a", adapter="other") == 500


def test_replicas_make_one_exposition() -> None:
    texts = {
        'r"1\\\n': busy("sentiment", 1).exposition(),
        "r2": busy("sentiment", 4).exposition(),
        "r3": busy("fashion", 2).exposition(),
    }
    found = samples(merged(texts))
    totals: Samples = defaultdict(float)
    for (name, labels), number in found.items():
        assert dict(labels)["replica"] in texts
        totals[name, tuple(pair for pair in labels if pair[0] != "replica")] += number
    expected: Samples = defaultdict(float)
    for text in texts.values():
        for place, number in samples(text).items():
            if not place[0].endswith("_created"):
                expected[place] += number
    assert totals == expected
    assert value(totals, "serve_requests_total", app="sentiment", route="/healthz", status="200", adapter="") == 5
    assert value(found, "serve_queue_length", app="fashion", replica="r3") == 3


def test_a_sample_without_labels_gets_one() -> None:
    text = b"# HELP up Whether\n# TYPE up gauge\nup 1.0\n"
    assert merged({"a": text, "b": text}) == (
        b'# HELP up Whether\n# TYPE up gauge\nup{replica="a"} 1.0\nup{replica="b"} 1.0\n'
    )
    assert merged({}) == b""
