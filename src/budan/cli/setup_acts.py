"""What persons set up, as commands show it."""

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import click
import msgspec

from budan.cli.frame import OUT
from budan.cli.shown import show_moment
from budan.store.setup_acts import SetupActRow

P = ParamSpec("P")
R = TypeVar("R")


def acts_option(command: Callable[P, R]) -> Callable[P, R]:
    """Adds `--acts`."""
    told = "Also who set it up, and what it was before, the newest first."
    return click.option("--acts", "with_acts", is_flag=True, help=told)(command)


def show_act(row: SetupActRow) -> dict[str, object]:
    """An act for `--json`."""
    return {
        "id": row.id,
        "kind": row.kind,
        "merchant_id": row.merchant_id,
        "account_id": row.account_id,
        "acted_by": row.acted_by,
        "acted_at": row.acted_at,
        "before": _decoded(row.before),
        "after": _decoded(row.after),
    }


def print_acts(rows: Sequence[SetupActRow]) -> None:
    """A line for each act."""
    for row in rows:
        before, after = _decoded(row.before) or {}, _decoded(row.after) or {}
        changes = [
            f"{name} {_told(before[name])} -> {_told(after.get(name))}" if name in before else f"{name} {_told(value)}"
            for name, value in (before | after).items()
        ]
        of = [f"merchant {row.merchant_id}"] if row.merchant_id is not None else []
        of += [f"account {row.account_id}"] if row.account_id is not None else []
        what = f"{show_moment(row.acted_at)} {row.acted_by}: {row.kind} of {' and '.join(of)}"
        OUT.print(": ".join([what, *([", ".join(changes)] if changes else [])]))


def _decoded(text: str | None) -> dict[str, object] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, object])


def _told(value: object) -> str:
    return "none" if value is None else str(value)
