"""Moments as people type them: an age, RFC 3339, or a day."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import click

_AGE: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_moment(text: str, *, hint: str) -> datetime:
    """An RFC 3339 moment with its offset; `hint` names the flag."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no RFC 3339 moment", param_hint=hint) from error
    if moment.tzinfo is None:
        raise click.BadParameter("a moment needs its offset, as in 2026-12-01T00:00:00+08:00", param_hint=hint)
    return moment.astimezone(UTC)


class Since(click.ParamType[Any]):
    """An age as `90s`, `30m`, `2h` or `3d`, or an RFC 3339 moment with its offset."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """See click.ParamType; the age is counted back from this machine's clock."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        if age := _AGE.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is neither an age as 2h nor an RFC 3339 moment", param, ctx)
        if moment.tzinfo is None:
            self.fail("a moment needs its offset, as in 2026-12-01T00:00:00+08:00", param, ctx)
        return moment.astimezone(UTC)


class Before(Since):
    """An order's number, or what `Since` takes."""

    name = "order number or moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        # A number begins with a letter, an age or a moment with a digit.
        text = str(value)
        return text if text[:1].isalpha() else super().convert(value, param, ctx)


class Day(click.ParamType[Any]):
    """A day as `2026-12-01`."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """See click.ParamType."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no day like 2026-12-01", param, ctx)
