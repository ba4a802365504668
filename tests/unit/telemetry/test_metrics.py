from prometheus_client import REGISTRY as GLOBAL_REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from budan.telemetry import metrics


def test_the_page_parses_and_every_metric_of_ours_has_its_name_and_meaning() -> None:
    families = {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}
    ours = {name for name in families if name.startswith("budan_")}
    assert {"budan_orders_paid", "budan_recovery_seconds", "budan_due_oldest_seconds"} <= ours
    assert all(families[name].documentation for name in ours)
    assert "process_cpu_seconds" in families


def test_a_count_shows_on_the_page() -> None:
    before = metrics.REGISTRY.get_sample_value("budan_orders_paid_total", {"source": "test"}) or 0.0
    metrics.ORDERS_PAID.labels(source="test").inc()
    assert f'budan_orders_paid_total{{source="test"}} {before + 1}'.encode() in metrics.render()


def test_nothing_of_ours_is_on_the_librarys_global_registry() -> None:
    assert not [family.name for family in GLOBAL_REGISTRY.collect() if family.name.startswith("budan_")]
