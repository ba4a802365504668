"""Compares a bill of millions of lines with as many trades on a private database, beside the bare reading of both."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import reduce
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import duckdb
import msgspec

from budan.host.resources import peak_memory_bytes, usable_cores
from budan.proof.queries import queries_of, query
from budan.proof.records import CONNECT_S_MAX
from budan.proof.steps import run_cli

ORDERS_PER_STATEMENT: Final = 50_000
STATEMENT_S_MAX: Final = 600.0
COMMAND_S_MAX: Final = 3_600.0
LOOK_S: Final = 0.05
MERCHANTS: Final = 64
# Each reader copies an hour of ids at a time, as budan does.
READERS: Final = 2
HOURS: Final = 24
MAKER_MEMORY_MB: Final = 4_000
HEADER: Final = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,"
    "代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,"
    "申请退款金额,费率备注"
)
SUMMARY: Final = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
RSS_MB_MAX: Final = 1_000.0
# The whole command to the bare reading of both sides.
RATIO_MAX: Final = 1.6

_BEIJING: Final = timezone(timedelta(hours=8))
_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_NUMBER_LENGTH: Final = 30
# Leads of this environment's orders and refunds, and of another one's orders.
_ORDER, _REFUND, _OTHER = "D", "E", "T"

_MAKING = queries_of("bill_sql")
_PARTITIONS_MAKE: Final = query("reconcile_partitions_make")
_DATABASE_MAKE: Final = query("reconcile_database_make")
_ACCOUNT_ADD: Final = query("reconcile_account_add")
_MERCHANTS_ADD: Final = query("reconcile_merchants_add")
_ORDERS_ADD: Final = query("reconcile_orders_add")
_BARE_COPY: Final = query("reconcile_bare_copy")
_FOUND: Final = query("reconcile_found")
_CLEAN: Final = query("reconcile_clean")
_CHECKPOINT: Final = "CHECKPOINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilePlan:
    """How much is compared."""

    orders: int


SHORT: Final = ReconcilePlan(orders=200_000)
LONG: Final = ReconcilePlan(orders=10_000_000)


class ReconcileResult(msgspec.Struct, frozen=True, kw_only=True):
    """What comparing took beside the bare reading, and what it found; docs/bench.md says how each figure is made."""

    lines: int
    seconds: float
    bare_seconds: float
    ratio: float
    compared_seconds: float
    compared_ratio: float
    planted: int
    found: int
    invented: int
    rss_mb: float
    problems: list[str]


async def measure_reconciliation(
    *, dsn: str, folder: Path, plan: ReconcilePlan, progress: Callable[[str], None]
) -> ReconcileResult:
    """Sell, write the bill, read both sides bare, compare by the command line, and count what was found.

    Everything is made from counting alone, in a database of its own. Raises StepFailed where a command does not end well.
    """
    begin = datetime.combine(datetime.now(_BEIJING).date() - timedelta(days=2), time(), tzinfo=_BEIJING)
    own_dsn = await _make_database(dsn)
    environment = _environment(folder, dsn=own_dsn)
    await run_cli("db", "upgrade", environment=environment, timeout_s=COMMAND_S_MAX)
    progress(f"reconciliation: selling {plan.orders} orders")
    connection = await asyncpg.connect(own_dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
    try:
        lanes = await _sell(connection, plan, begin=begin)
        progress("reconciliation: writing the bill")
        bill = folder / "bill.csv"
        maker = duckdb.connect(folder / "making.duckdb", config=_maker_config(folder))
        try:
            lines = await asyncio.to_thread(write_bill, maker, bill, plan=plan, begin=begin, lanes=lanes)
            progress("reconciliation: the bare reading of both sides")
            bare_s = await _read_bare(own_dsn, bill, folder=folder, begin=begin)
            progress(f"reconciliation: comparing {lines} lines")
            report, seconds, rss_mb = await _compare(bill, day=begin.date(), environment=environment)
            return await _conclude(
                connection,
                maker,
                report,
                folder=folder,
                lines=lines,
                seconds=seconds,
                bare_s=bare_s,
                rss_mb=rss_mb,
            )
        finally:
            maker.close()
    finally:
        await connection.close()


async def _make_database(dsn: str) -> str:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
    try:
        await connection.execute(_DATABASE_MAKE)
    finally:
        await connection.close()
    return urlsplit(dsn)._replace(path="/books_reconcile").geturl()


async def _sell(
    connection: "asyncpg.Connection[asyncpg.Record]", plan: ReconcilePlan, *, begin: datetime
) -> dict[int, int]:
    """All orders of the day are there; gives each merchant's lane."""
    await connection.fetchval(_PARTITIONS_MAKE)
    await connection.execute(_ACCOUNT_ADD)
    rows = await connection.fetch(_MERCHANTS_ADD, MERCHANTS)
    for first in range(1, plan.orders + 1, ORDERS_PER_STATEMENT):
        last = min(plan.orders, first + ORDERS_PER_STATEMENT - 1)
        await connection.execute(_ORDERS_ADD, first, last, plan.orders, MERCHANTS, begin)
    await connection.execute(_CLEAN)
    await connection.execute(_CHECKPOINT)
    return {row["id"]: row["lane"] for row in rows}


def write_bill(
    maker: duckdb.DuckDBPyConnection, bill: Path, *, plan: ReconcilePlan, begin: datetime, lanes: Mapping[int, int]
) -> int:
    """The bill of the day, and what comparing it must find; gives how many lines it has."""
    numbers = _number_parameters(begin.date(), lanes)
    span = {"orders": plan.orders, "merchants": MERCHANTS, "begin_s": int(begin.timestamp())}
    moments = {"begin_ms": span["begin_s"] * 1_000, "epoch_ms": int(_EPOCH.timestamp()) * 1_000}
    maker.execute(_MAKING["making_sold"], numbers | span | moments)
    for name in ("making_lines", "making_expected", "making_yuan", "making_fee", "making_texts"):
        maker.execute(_MAKING[name])
    ((lines, paid, back, fee),) = maker.execute(_MAKING["making_sums"]).fetchall()
    rows = bill.with_suffix(".rows")
    maker.view("written_line").write_csv(str(rows), header=False, sep="\t", quotechar="", escapechar="")
    summary = (
        str(lines),
        _yuan(paid),
        _yuan(back),
        "0.00",
        f"{fee // 100_000}.{fee % 100_000:05}",
        _yuan(paid),
        _yuan(back),
    )
    with bill.open("wb") as whole, rows.open("rb") as part:
        whole.write(f"{HEADER}\n".encode())
        shutil.copyfileobj(part, whole, 1 << 20)
        whole.write(f"{SUMMARY}\n{','.join(f'`{value}' for value in summary)}\n".encode())
    rows.unlink()
    return int(lines)


def _yuan(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


def _number_parameters(day: date, lanes: Mapping[int, int]) -> dict[str, object]:
    """What SQL needs to write numbers: their first fifteen characters by merchant, and the sums that end them."""
    merchants = range(1, MERCHANTS + 1)
    heads = {
        lead: [f"{lead}{day:%y%m%d}{_base32(lanes[merchant], 2)}{_base32(merchant, 6)}" for merchant in merchants]
        for lead in (_ORDER, _REFUND, _OTHER)
    }
    # The attempt, or a refund's ordinal, is always the first.
    sums = {lead: [_sum_of(head, 0) ^ _sum_of("1", 28) for head in texts] for lead, texts in heads.items()}
    return {
        "letters": list(_LETTERS),
        "pairs": [high + low for high in _LETTERS for low in _LETTERS],
        "checks": [
            [_sum_of(letter, 15) for letter in _LETTERS],
            *([_sum_of(high + low, place) for high in _LETTERS for low in _LETTERS] for place in range(16, 28, 2)),
        ],
        "heads": heads[_ORDER],
        "head_sums": sums[_ORDER],
        "refund_heads": heads[_REFUND],
        "refund_sums": sums[_REFUND],
        "other_heads": heads[_OTHER],
        "other_sums": sums[_OTHER],
    }


def _base32(value: int, length: int) -> str:
    return "".join(_LETTERS[value >> shift & 31] for shift in range(5 * (length - 1), -1, -5))


def _sum_of(text: str, place: int) -> int:
    """What characters from a place on add to the check character: each times alpha to the power of its distance."""
    return reduce(
        lambda found, at: found ^ _times_alpha(_LETTERS.index(text[at]), _NUMBER_LENGTH - 1 - place - at),
        range(len(text)),
        0,
    )


def _times_alpha(value: int, times: int) -> int:
    for _ in range(times):
        value <<= 1
        if value & 32:
            value ^= 0b100101
    return value


async def _read_bare(dsn: str, bill: Path, *, folder: Path, begin: datetime) -> float:
    """Seconds for our side out, once, by as many readers as budan has, and the bill scanned, once."""
    began_s = monotonic()
    await _copy_bare(dsn, folder=folder, begin=begin)
    await asyncio.to_thread(_scan, bill, folder)
    return monotonic() - began_s


async def _copy_bare(dsn: str, *, folder: Path, begin: datetime) -> None:
    hours = iter(range(HOURS))

    async def copy() -> None:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
        try:
            for hour in hours:
                first = begin + timedelta(hours=hour)
                ids = [
                    int((moment - _EPOCH).total_seconds() * 1_000) << 22
                    for moment in (first, first + timedelta(hours=1))
                ]
                with (folder / f"bare-{hour}.csv").open("wb") as stream:

                    async def write(chunk: bytes, stream: Any = stream) -> None:
                        stream.write(chunk)

                    await connection.copy_from_query(
                        _BARE_COPY.rstrip(";"), *ids, begin, begin + timedelta(days=1), output=write, format="csv"
                    )
        finally:
            await connection.close()

    async with asyncio.TaskGroup() as readers:
        for _ in range(READERS):
            readers.create_task(copy())


def _scan(bill: Path, folder: Path) -> None:
    with duckdb.connect(folder / "scan.duckdb", config=_maker_config(folder)) as scanner:
        columns = {f"column_{place}": "VARCHAR" for place in range(1, HEADER.count(",") + 2)}
        scanner.execute(_MAKING["making_scan"], {"path": str(bill), "columns": columns}).fetchall()


async def _compare(bill: Path, *, day: date, environment: Mapping[str, str]) -> tuple[dict[str, Any], float, float]:
    """The report of `budan reconcile`, how long the command took, from its start to its end, and its memory's peak."""
    contract = ("reconcile", "contract", "main", "--rate", "0.6%", "--from", str(day), "--by", "bench")
    await run_cli(*contract, environment=environment, timeout_s=COMMAND_S_MAX)
    began_s = monotonic()
    words = ("reconcile", "--account", "main", "--day", str(day), "--bill", str(bill), "--by", "bench")
    watches: list[asyncio.Task[float]] = []
    async with asyncio.TaskGroup() as group:
        report = await run_cli(
            *words,
            environment=environment,
            timeout_s=COMMAND_S_MAX,
            on_start=lambda pid: watches.append(group.create_task(_watch_memory(pid))),
        )
        seconds = monotonic() - began_s
    (watch,) = watches
    return report, seconds, watch.result()


async def _watch_memory(pid: int) -> float:
    """The peak of a process until its end, in MB. What the kernel tells of a child that has ended counts ours in as well."""
    peak_bytes = 0
    while (found := peak_memory_bytes(pid)) is not None:
        peak_bytes = found
        await asyncio.sleep(LOOK_S)
    return peak_bytes / 2**20


async def _conclude(
    connection: "asyncpg.Connection[asyncpg.Record]",
    maker: duckdb.DuckDBPyConnection,
    report: dict[str, Any],
    *,
    folder: Path,
    lines: int,
    seconds: float,
    bare_s: float,
    rss_mb: float,
) -> ReconcileResult:
    found_path = folder / "found.csv"
    await connection.copy_from_query(_FOUND.rstrip(";"), output=found_path, format="csv")
    rows = maker.execute(_MAKING["making_compare"], {"path": str(found_path)}).fetchall()
    ((planted, planted_beside, found, invented),) = rows
    beside = report["kinds"]["payment"]["verdicts"].get("neighbour_day", {}).get("there", {}).get("rows", 0)
    compared_s = (
        datetime.fromisoformat(report["ended_at"]) - datetime.fromisoformat(report["begun_at"])
    ).total_seconds()
    result = ReconcileResult(
        lines=lines,
        seconds=round(seconds, 2),
        bare_seconds=round(bare_s, 2),
        ratio=round(seconds / bare_s, 3),
        compared_seconds=round(compared_s, 2),
        compared_ratio=round(compared_s / bare_s, 3),
        planted=planted + planted_beside,
        found=found + min(beside, planted_beside),
        invented=invented + max(0, beside - planted_beside),
        rss_mb=round(rss_mb, 1),
        problems=[],
    )
    return msgspec.structs.replace(result, problems=find_problems(result))


def find_problems(result: ReconcileResult) -> list[str]:
    """What is not as it must be, in words; a figure of time below its aim is shown, not failed."""
    found = {
        f"{result.found} of {result.planted} planted differences were found": result.found != result.planted,
        f"{result.invented} differences were found that nobody planted": result.invented != 0,
        f"comparing took {result.rss_mb} MB of memory": result.rss_mb > RSS_MB_MAX,
    }
    return [text for text, is_wrong in found.items() if is_wrong]


def _maker_config(folder: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{MAKER_MEMORY_MB}MB",
        "threads": str(max(1, int(usable_cores()))),
        "temp_directory": str(folder / "making"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


def _environment(folder: Path, *, dsn: str) -> dict[str, str]:
    # Nothing of our caller's settings, as in a private instance.
    theirs = {name: text for name, text in os.environ.items() if not name.startswith("BUDAN_")}
    return theirs | {"BUDAN_ENVIRONMENT": "local", "BUDAN_DATABASE": dsn, "BUDAN_FOLDER": str(folder)}
