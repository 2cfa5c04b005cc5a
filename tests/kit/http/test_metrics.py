"""The list of metrics is the truth: each is made, explained and without ids (O1-O3, B.9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from shared.runtime import metrics
from shared.runtime.metrics import METRICS


def test_every_metric_is_made_once_and_explained() -> None:
    made = {family.name: family for family in metrics.REGISTRY.collect() if not family.name.startswith("process_")}
    assert set(made) == {metric.name.removesuffix("_total") for metric in METRICS}
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.remedy.endswith("."), metric.name
        assert made[metric.name.removesuffix("_total")].documentation == metric.remedy


def test_no_label_holds_an_id_of_a_deal_event_or_tenant() -> None:
    for metric in METRICS:
        forbidden = {"tenant", "tenant_id", "deal", "deal_id", "event_id", "correlation_id", "element_id", "key", "path"}
        assert not forbidden & set(metric.labels), metric.name


def test_names_and_units_follow_the_conventions() -> None:
    for metric in METRICS:
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.kind != "histogram" or metric.name.endswith(("_seconds", "_items")), metric.name


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def test_counting_goes_by_batches() -> None:
    before = value("dead_letters_total", topic="t", group="g", reason="not_yet")
    metrics.parked("g", [("t", "not_yet"), ("t", "not_yet")])
    assert value("dead_letters_total", topic="t", group="g", reason="not_yet") == before + 2
    metrics.quarantined(["t", "t", "u"])
    assert value("quarantined_total", topic="t") >= 2
    metrics.consumed("g", ["t", "t"], 0.1)
    assert value("messaging_client_consumed_messages_total", topic="t", group="g") >= 2
    metrics.published("t", 3)
    assert value("relay_published_total", topic="t") == value("messaging_client_sent_messages_total", topic="t")


def test_senders_do_not_choose_our_labels() -> None:
    metrics.ignored("g", "evil.type.v1")
    assert value("consumer_handled_total", group="g", type="unrouted", outcome="ignored") >= 1
    assert "evil" not in metrics.exposition().decode()


def test_odd_methods_are_one_series() -> None:
    for method in ("BREW", "X" * 50):
        metrics.http_answered(method, "/v1/x", 405, 0.01)
    methods: set[Any] = {
        sample.labels["method"]
        for family in text_string_to_metric_families(metrics.exposition().decode())
        if family.name == "http_server_request_duration_seconds"
        for sample in family.samples
    }
    assert methods <= metrics.METHODS | {"OTHER"}


def test_the_operators_page_lists_them_all() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operating" / "metrics.md").read_text()
    for metric in METRICS:
        labels = "{" + ",".join(metric.labels) + "}" if metric.labels else ""
        assert f"| `{metric.name}{labels}` | {metric.kind} | {metric.remedy} |" in page, metric.name
