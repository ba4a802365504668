"""Asks a channel about every suspect of one account and drops the answers: what a sweep is measured against."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from time import monotonic, process_time
from typing import Final

import msgspec
import uvloop

from budan.channels.session import SessionChannel
from budan.cli.frame import database_dsn
from budan.cli.settings import Settings, load_settings
from budan.cli.wiring import SIGNER_THREADS, Opened, build_bare_channel, load_account, open_database
from budan.core.errors import Refused
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId, Lane, id_floor, trade_number
from budan.core.trade import Direction, TradeState
from budan.flows.calling import CALL_TIMEOUT_S
from budan.ports.channel import Call, Method, TradeRef
from budan.store import suspects as stored
from budan.store.suspects import SuspectRange, SuspectRow
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer

ORDERS_PER_PAGE: Final = 2_000
LINES_PER_REQUEST: Final = 2_000
PREPARE_S_MAX: Final = 60.0
# What a sweep with nothing else to do looks at: every order of the last days.
LOOKED_AT: Final = timedelta(days=2)


class BareWish(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask and how. `prepare_url`: the channel signs its answers before the clock runs."""

    account_id: int
    asked_at_once: int
    prepare_url: str


class BareResult(msgspec.Struct, frozen=True, kw_only=True):
    """What it took, from the first question to the last answer; `said` counts the answers by what they said."""

    suspects: int
    seconds: float
    cpu_s: float
    said: dict[str, int]


def main() -> None:
    """One loop, told on stdin and answered on stdout."""
    wish = msgspec.json.decode(sys.stdin.buffer.read(), type=BareWish)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_run(load_settings({}), wish))
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


async def _run(settings: Settings, wish: BareWish) -> BareResult:
    account_id = AccountId(wish.account_id)
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        config = await load_account(opened, account_id)
        rows = [row for row in await _list_suspects(opened) if row.account_id == account_id]
    if config is None:
        raise Refused("account_unknown", param="account_id")
    refs = [_ref(row, settings) for row in rows]
    await _prepare(wish, list(zip(refs, rows, strict=True)))
    signer = Signer(threads=SIGNER_THREADS)
    channel = build_bare_channel(config, signer)
    try:
        return await _ask_all(channel, refs, asked_at_once=wish.asked_at_once)
    finally:
        await channel.end_session()
        signer.close()


async def _ask_all(channel: SessionChannel, refs: Sequence[TradeRef], *, asked_at_once: int) -> BareResult:
    said = dict.fromkeys(Outcome, 0)
    left = iter(refs)
    began_s, cpu_began_s = monotonic(), process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(asked_at_once):
            tasks.create_task(_ask_while_any(channel, left, said))
    return BareResult(
        suspects=len(refs),
        seconds=monotonic() - began_s,
        cpu_s=process_time() - cpu_began_s,
        said={outcome.value: count for outcome, count in said.items() if count},
    )


async def _ask_while_any(channel: SessionChannel, left: Iterator[TradeRef], said: dict[Outcome, int]) -> None:
    for ref in left:
        call = Call(now=datetime.now(UTC), nonce=token_hex(16), deadline_s=CALL_TIMEOUT_S)
        result = await channel.query(ref, call=call)
        said[result.outcome] += 1


async def _list_suspects(opened: Opened) -> list[SuspectRow]:
    """All of them, as a sweep reads them."""
    now = datetime.now(UTC)
    within = SuspectRange(since=id_floor(now - LOOKED_AT), until=id_floor(now + LOOKED_AT))
    found: list[SuspectRow] = []
    for lane in range(opened.lanes):
        after: int | None = within.since - 1
        while after is not None:
            async with opened.database.reading() as transaction:
                page = await stored.list_suspects(
                    transaction, Lane(lane), within, after=after, orders_max=ORDERS_PER_PAGE
                )
            found.extend(page.rows)
            after = page.last
    return found


async def _prepare(wish: BareWish, asked: Sequence[tuple[TradeRef, SuspectRow]]) -> None:
    lines = [f"{ref.trade_no} closed" if row.state == TradeState.CLOSED.value else ref.trade_no for ref, row in asked]
    client = FastHttpClient(connections_per_host_max=1)
    try:
        for first in range(0, len(lines), LINES_PER_REQUEST):
            await client.request(
                method="POST",
                url=wish.prepare_url,
                headers={"content-type": "text/plain"},
                body="\n".join(lines[first : first + LINES_PER_REQUEST]).encode(),
                timeout_s=PREPARE_S_MAX,
                body_bytes_max=0,
            )
    finally:
        await client.close()


def _ref(row: SuspectRow, settings: Settings) -> TradeRef:
    return TradeRef(
        trade_no=trade_number(
            environment=settings.environment,
            lane=row.lane,
            merchant_id=row.merchant_id,
            order_id=row.order_id,
            attempt=row.attempt,
        ),
        direction=Direction.C2B,
        created_at=row.created_at,
        channel_reference=row.channel_reference,
        method=Method(row.method),
    )


if __name__ == "__main__":
    main()
