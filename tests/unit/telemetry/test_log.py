import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from budan.telemetry import metrics
from budan.telemetry.log import configure_logging


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_tells_when_where_how_bad_and_what(stream: io.StringIO) -> None:
    configure_logging(style="json", level="info", role="worker", stream=stream)
    structlog.get_logger().warning("order_held", order_no="A1", reason="amount_mismatch")
    (line,) = lines(stream)
    assert line["at"].endswith("Z")
    assert line["pid"] > 0
    assert {key: line[key] for key in ("event", "level", "process", "order_no", "reason")} == {
        "event": "order_held",
        "level": "warning",
        "process": "worker",
        "order_no": "A1",
        "reason": "amount_mismatch",
    }


def test_a_librarys_line_looks_like_ours_and_is_redacted_too(stream: io.StringIO) -> None:
    configure_logging(style="json", level="info", role="serve", stream=stream)
    logging.getLogger("some.library").warning("sent %s", "134567890123456789")
    (line,) = lines(stream)
    assert (line["logger"], line["process"], line["level"]) == ("some.library", "serve", "warning")
    assert "134567890123456789" not in stream.getvalue()


def fail() -> None:
    raise RuntimeError("postgresql://budan:hunter2@db/budan")


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_way_into_a_line_shows_a_secret(stream: io.StringIO, style: Any) -> None:
    configure_logging(style=style, level="debug", role="serve", stream=stream)
    log = structlog.get_logger().bind(password="hunter2")
    structlog.contextvars.bind_contextvars(token="hunter2")
    log.info("with hunter 281234567890123456", request={"api_key": "hunter2"})
    try:
        fail()
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("library").exception("failed")
    finally:
        structlog.contextvars.clear_contextvars()
    assert "Traceback" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert "281234567890123456" not in stream.getvalue()


def test_a_value_that_json_does_not_know_is_written_as_python_shows_it(stream: io.StringIO) -> None:
    configure_logging(style="json", level="info", role="serve", stream=stream)
    structlog.get_logger().info("odd", value=object, body=b"\xff", many=(1, {2}))
    assert lines(stream)[0]["many"] == [1, [2]]


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    configure_logging(style="json", level="warning", role="serve", stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert stream.getvalue() == ""


def test_configuring_twice_writes_each_line_once(stream: io.StringIO) -> None:
    for _ in range(2):
        configure_logging(style="json", level="info", role="serve", stream=stream)
    logging.getLogger("library").warning("once")
    structlog.get_logger().warning("once")
    assert [line["event"] for line in lines(stream)] == ["once", "once"]


def test_a_line_that_cannot_be_written_is_counted_and_harms_nobody() -> None:
    """A full disk once ended every worker: the line of its first failure failed, too."""
    lost = _lost()
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as full:
        configure_logging(style="json", level="info", role="worker", stream=full)
        structlog.get_logger().warning("order_held")
        logging.getLogger("some.library").warning("a page is full")
        assert _lost() == lost + 2
        with contextlib.suppress(OSError):
            full.close()
    structlog.get_logger().warning("nobody listens")
    assert _lost() == lost + 3


def _lost() -> float:
    return metrics.REGISTRY.get_sample_value("budan_log_lines_lost_total") or 0.0
