"""Log lines as fields: JSON for machines, columns for people, and nothing secret in either."""

import logging
import os
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

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

    `role` is what this process is: serve, worker, sandbox, …
    """
    chain = _chain(role)
    ending: list[Processor] = [_redact, _renderer(style, stream)]
    structlog.configure(
        processors=[*chain, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        # Loggers are made at import, before the command line is read.
        cache_logger_on_first_use=False,
    )
    foreign = logging.StreamHandler(stream)
    foreign.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *chain],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [foreign]
    root.setLevel(_LEVELS[level])


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
