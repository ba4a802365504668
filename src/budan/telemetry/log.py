"""Log lines as fields: JSON for machines, columns for people, and nothing secret in either."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Literal, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from budan.telemetry import metrics
from budan.telemetry.redaction import redact_fields

Style = Literal["json", "console"]
Level = Literal["debug", "info", "warning", "error"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(*, style: Style, level: Level, role: str, stream: TextIO) -> None:
    """Sends our lines and those of every library to `stream`, each with `process` and `pid`; safe to repeat.

    `role` is what this process is: serve, worker, sandbox, … A line that cannot be written is counted and lost.
    """
    unbreakable = cast("TextIO", _Unbreakable(stream))
    chain = _chain(role)
    ending: list[Processor] = [_redact, _renderer(style, stream)]
    structlog.configure(
        processors=[*chain, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=unbreakable),
        # Loggers are made at import, before the command line is read.
        cache_logger_on_first_use=False,
    )
    foreign = logging.StreamHandler(unbreakable)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *chain],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [foreign]
    root.setLevel(_LEVELS[level])


class _Unbreakable:
    """Writes to a stream whose disk may be full or whose reader may be gone, and counts what is lost.

    Nobody could be told of it by the same stream, and whoever wanted to say something has work to go on with.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_lost = False

    def write(self, text: str) -> int:
        """All of a line at once, as both kinds of loggers do."""
        self._is_lost = False
        with self._counting():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Follows each line."""
        with self._counting():
            self._stream.flush()

    @contextmanager
    def _counting(self) -> Generator[None]:
        try:
            yield
        except (OSError, ValueError):
            # A closed stream is a ValueError. What could not be written is not there to be flushed, either.
            if not self._is_lost:
                metrics.LOG_LINES_LOST.inc()
            self._is_lost = True


def _chain(role: str) -> list[Processor]:
    def name_origin(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        fields["process"] = role
        # Asked for each line: a fork after this would else write its parent's.
        fields["pid"] = os.getpid()
        return fields

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        name_origin,
        # Before redaction: a traceback quotes values.
        structlog.processors.format_exc_info,
    ]


def _redact(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    return redact_fields(fields)


def _renderer(style: Style, stream: TextIO) -> Processor:
    if style == "json":
        return structlog.processors.JSONRenderer(serializer=_json)
    is_coloured = stream.isatty() and "NO_COLOR" not in os.environ
    return structlog.dev.ConsoleRenderer(
        colors=is_coloured, exception_formatter=structlog.dev.plain_traceback, timestamp_key="at"
    )


def _json(fields: EventDict, **_options: Any) -> str:
    return msgspec.json.encode(fields, enc_hook=repr).decode()
