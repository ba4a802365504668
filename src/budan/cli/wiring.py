"""Builds everything and names the adapters; no container, no globals."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from random import random
from secrets import token_hex

from budan.channels.accounts import AccountCache
from budan.channels.alipay.kind import KIND as ALIPAY
from budan.channels.guard import GuardedChannel, GuardLimits
from budan.channels.ipaynow.kind import KIND as IPAYNOW
from budan.channels.kind import ChannelKind, Tools
from budan.channels.session import SessionChannel
from budan.channels.settings import BadSettings
from budan.channels.swiftpass.kind import KIND as SWIFTPASS
from budan.channels.wechat_v2.kind import KIND as WECHAT_V2
from budan.channels.wechat_v3.kind import KIND as WECHAT_V3
from budan.cli.mail_settings import parse_mail
from budan.cli.secret_keys import InstanceKeys, load_keys
from budan.cli.settings import Settings
from budan.core.errors import Refused
from budan.core.gap import Role
from budan.core.numbers import AccountId
from budan.flows.account_desk import AccountDesk, ask_for_nothing, open_account
from budan.flows.administering import Administration
from budan.flows.asking import Questions
from budan.flows.autobudan import AUTOBUDAN, Autobudan
from budan.flows.bill_days import BillDays
from budan.flows.books_link import BooksLinks
from budan.flows.calling import ChannelCalls
from budan.flows.cashier_link import CashierLinks
from budan.flows.choosing import Chooser
from budan.flows.closing import OrderClosing
from budan.flows.day_books import DayBooks
from budan.flows.delivering import Deliveries
from budan.flows.directory import Directory
from budan.flows.discrepancies import Discrepancies
from budan.flows.door import Door
from budan.flows.ending import TradeEndings
from budan.flows.file_words import FileWords
from budan.flows.fleet import Fleet
from budan.flows.healths import AccountHealths
from budan.flows.holding import Holds
from budan.flows.ids import IdSource
from budan.flows.intake import OrderIntake
from budan.flows.intents import IntentMaker
from budan.flows.job import Job
from budan.flows.job_desk import JobDesk
from budan.flows.job_runs import JobRuns
from budan.flows.keeping import Housekeeping
from budan.flows.lanes import LaneKeeper
from budan.flows.leftovers import Leftovers
from budan.flows.losses import Losses
from budan.flows.mailing import Mailing
from budan.flows.nightly import NIGHTLY, Nightly
from budan.flows.notices import Notices
from budan.flows.payers import Payers
from budan.flows.paying import Payments
from budan.flows.portal_refunds import PortalRefunds
from budan.flows.presence import Presence
from budan.flows.reading import Reading
from budan.flows.reconcile_job import RECONCILE, BillTools, Reconcile
from budan.flows.reconciling import READERS, Reconciliation
from budan.flows.refund_door import RefundDoor
from budan.flows.refunding import Refunding
from budan.flows.remedies import Remedies
from budan.flows.replaying import Replays
from budan.flows.sealing import Sealing
from budan.flows.settling import SETTLE_DAILY, SettleDaily, Settling
from budan.flows.shop_orders import ShopOrders
from budan.flows.suspicion import ROWS_AHEAD_MAX, SILENT_S_MAX, SuspicionSteps
from budan.flows.testifying import Testimony
from budan.flows.webhook_secrets import WebhookSecrets
from budan.flows.wired import Flows, OperatorFlows
from budan.flows.withdrawing import Withdrawals
from budan.host.resources import usable_cores
from budan.ports.channel import AccountConfig, AccountFacts
from budan.store import directory as stored
from budan.store.database import Database, Workload
from budan.store.upgrade import SchemaGap, compare_schema
from budan.telemetry import metrics
from budan.wire.elapsed import elapsed_s
from budan.wire.http_fast import FastHttpClient
from budan.wire.names import NameLookups
from budan.wire.rsa import Signer
from budan.wire.secret_box import CannotOpen
from budan.wire.smtp import SmtpPost
from budan.workers.deliver import DELIVERIES_MAX
from budan.workers.jobs import JobTurns
from budan.workers.mail import MailTurns
from budan.workers.run import Workers

# One session per channel account, with a connection for every call that its guard lets out: none waits for another.
CONNECTIONS_PER_ACCOUNT_MAX = GuardLimits().calls_max
# The channels that this version ships.
KINDS = {kind.name: kind for kind in (WECHAT_V3, WECHAT_V2, ALIPAY, SWIFTPASS, IPAYNOW)}
# The jobs that this version ships.
PLANS = (AUTOBUDAN, NIGHTLY, RECONCILE, SETTLE_DAILY)
# RSA releases the GIL: two threads use two cores, and the event loop is left to the rest.
SIGNER_THREADS = 2


class SystemClock:
    """The machine's clocks: the one implementation of `ports.clock.Clock` outside tests."""

    def now(self) -> datetime:
        """See Clock.now."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """See Clock.monotonic_s."""
        return elapsed_s()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A database that belongs to this environment, with what the process needs beside it."""

    settings: Settings
    database: Database
    keys: InstanceKeys
    lanes: int
    clock: SystemClock
    dsn: str = field(repr=False)

    @asynccontextmanager
    async def bulk(self, *, connections_max: int = 1) -> AsyncGenerator[Database]:
        """The same database with sessions that read much, for as long as somebody does."""
        database = await Database.connect(self.dsn, connections_max=connections_max, workload=Workload.BULK)
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def open_database(
    settings: Settings,
    *,
    dsn: str,
    workload: Workload = Workload.BY_KEY,
) -> AsyncGenerator[Opened]:
    """The database of `dsn`; raises `Refused` when it is of another environment (I13) upgraded no further yet, or further."""
    database = await Database.connect(dsn, workload=workload)
    try:
        async with database.reading() as transaction:
            installation = await stored.find_installation(transaction)
            gap = await compare_schema(transaction) if installation else SchemaGap(missing=[], unknown=[])
        if gap.unknown:
            raise Refused(
                "schema_newer", param="database", detail=f"a later version ran {gap.unknown[-1]}: start that version"
            )
        if installation is None or gap.missing:
            raise Refused("database_not_upgraded", param="database", detail="run: budan db upgrade")
        if installation.environment != settings.environment.value:
            raise Refused(
                "environment_mismatch",
                param="environment",
                detail=f"the database is {installation.environment}, the settings say {settings.environment.value}",
            )
        yield Opened(
            settings=settings,
            database=database,
            keys=load_keys(settings),
            lanes=installation.lanes,
            clock=SystemClock(),
            dsn=dsn,
        )
    finally:
        await database.close()


@asynccontextmanager
async def open_flows(opened: Opened) -> AsyncGenerator[Flows]:
    """The use cases of this process; leaving drains what was promised."""
    settings, database, clock, environment = opened.settings, opened.database, opened.clock, opened.settings.environment
    async with AsyncExitStack() as stack:
        signer = Signer(threads=SIGNER_THREADS)
        stack.callback(signer.close)
        accounts = _account_cache(opened, signer)
        stack.push_async_callback(accounts.close)
        ids = IdSource(database=database, clock=clock)
        await ids.start()
        await stack.enter_async_context(_running(ids.keep()))
        healths = AccountHealths(database=database, clock=clock)
        await stack.enter_async_context(_running(healths.keep()))
        intents = IntentMaker(environment=environment, public_url=settings.public_url, healths=healths)
        intake = await stack.enter_async_context(OrderIntake(database=database, ids=ids, intents=intents))
        door = await stack.enter_async_context(
            Door(database=database, environment=environment, lanes=opened.lanes, healths=healths),
        )
        closing = await stack.enter_async_context(OrderClosing(database=database, environment=environment))
        directory = Directory(database=database, environment=environment, clock=clock)
        reading = Reading(database=database, environment=environment)
        refund_door = await stack.enter_async_context(
            RefundDoor(database=database, environment=environment, lanes=opened.lanes),
        )
        refunding = _refunding(opened, accounts=accounts, intents=intents, reading=reading, door=refund_door)
        calls = ChannelCalls(accounts=accounts, door=door, clock=clock, healths=healths)
        payments = Payments(
            database=database,
            environment=environment,
            clock=clock,
            directory=directory,
            chooser=Chooser(directory=directory, accounts=accounts),
            intake=intake,
            intents=intents,
            calls=calls,
            reading=reading,
        )
        await stack.enter_async_context(payments)
        yield Flows(
            environment=environment,
            public_url=settings.public_url,
            database=database,
            directory=directory,
            payments=payments,
            calls=calls,
            questions=Questions(
                database=database,
                environment=environment,
                clock=clock,
                calls=calls,
                reading=reading,
                healths=healths,
            ),
            reading=reading,
            notices=_notices(opened, accounts=accounts, door=door, refunds=refund_door, ids=ids),
            door=door,
            closing=closing,
            endings=TradeEndings(database=database, environment=environment, calls=calls, closing=closing),
            withdrawals=Withdrawals(environment=environment, reading=reading, calls=calls, closing=closing),
            healths=healths,
            refund_door=refund_door,
            refunding=refunding,
            payers=Payers(database=database, environment=environment, reading=reading),
            cashier_links=CashierLinks(secret=opened.keys.cashier_key),
            shop_orders=_shop_orders(opened, payments),
            ids=ids,
            accounts=accounts,
            day_books=DayBooks(database=database, bills=build_bill_days(opened)),
            books_links=BooksLinks(secret=opened.keys.cashier_key, clock=clock),
        )


def _shop_orders(opened: Opened, payments: Payments) -> ShopOrders:
    key, clock = opened.keys.cashier_key, opened.clock
    return ShopOrders(database=opened.database, payments=payments, secret=key, clock=clock)


@asynccontextmanager
async def be_present(opened: Opened, role: Role) -> AsyncGenerator[None]:
    """Says each second that this process is here, until the block is left."""
    async with _running(Presence(database=opened.database, role=role).keep()):
        yield


@asynccontextmanager
async def watch_fleet(opened: Opened) -> AsyncGenerator[None]:
    """Tells in this process's metrics what no worker can tell where none lives, until the block is left."""
    async with _running(Fleet(database=opened.database, lanes=opened.lanes).keep()):
        yield


@asynccontextmanager
async def open_settling(opened: Opened) -> AsyncGenerator[Settling]:
    """What settles by hand, with ids of its own."""
    async with open_ids(opened) as ids:
        yield Settling(bulk=opened.bulk, ids=ids)


@asynccontextmanager
async def open_ids(opened: Opened) -> AsyncGenerator[IdSource]:
    """Ids of a process that has no flows."""
    ids = IdSource(database=opened.database, clock=opened.clock)
    await ids.start()
    async with _running(ids.keep()):
        yield ids


def operator_flows(opened: Opened, flows: Flows) -> OperatorFlows:
    """What persons do at the command line, on the use cases of this process."""
    database, environment = opened.database, opened.settings.environment
    return OperatorFlows(
        holds=Holds(database=database, environment=environment, calls=flows.calls, door=flows.door),
        testimony=Testimony(
            database=database,
            environment=environment,
            calls=flows.calls,
            door=flows.door,
            clock=opened.clock,
        ),
        replays=Replays(database=database, environment=environment, lanes=opened.lanes, notices=flows.notices),
        remedies=Remedies(database=database, environment=environment),
        file_words=FileWords(
            database=database, environment=environment, calls=flows.calls, door=flows.door, clock=opened.clock
        ),
    )


def _notices(opened: Opened, *, accounts: AccountCache, door: Door, refunds: RefundDoor, ids: IdSource) -> Notices:
    return Notices(
        database=opened.database,
        environment=opened.settings.environment,
        accounts=accounts,
        door=door,
        refunds=refunds,
        ids=ids,
        clock=opened.clock,
    )


def _refunding(
    opened: Opened, *, accounts: AccountCache, intents: IntentMaker, reading: Reading, door: RefundDoor
) -> Refunding:
    return Refunding(
        database=opened.database,
        environment=opened.settings.environment,
        clock=opened.clock,
        accounts=accounts,
        intents=intents,
        reading=reading,
        door=door,
    )


@asynccontextmanager
async def open_workers(opened: Opened, flows: Flows) -> AsyncGenerator[Workers]:
    """What this process's loops run on; leaving writes what was delivered."""
    # Endpoints may share a host, so only the worker's own bounds hold a delivery back.
    client = FastHttpClient(connections_per_host_max=DELIVERIES_MAX)
    try:
        async with Deliveries(
            database=opened.database,
            clock=opened.clock,
            client=client,
            lookups=NameLookups(),
            box=opened.keys.box,
            allowed=opened.settings.webhook_allow,
            jitter=random,
        ) as deliveries:
            yield Workers(
                environment=opened.settings.environment,
                lanes=LaneKeeper(
                    database=opened.database,
                    clock=opened.clock,
                    worker=f"worker-{token_hex(8)}",
                    lanes=opened.lanes,
                ),
                questions=flows.questions,
                healths=flows.healths,
                refunding=flows.refunding,
                deliveries=deliveries,
                leftovers=Leftovers(database=opened.database, door=flows.door),
                closing=flows.closing,
                endings=flows.endings,
                housekeeping=Housekeeping(database=opened.database),
                jobs=build_job_turns(opened, flows),
                mail=await build_mail_turns(opened),
                clock=opened.clock,
            )
    finally:
        await client.close()


def build_job_turns(
    opened: Opened, flows: Flows, *, silent_s_max: float = SILENT_S_MAX, rows_ahead_max: int = ROWS_AHEAD_MAX
) -> JobTurns:
    """The runs of jobs that this process may take up."""
    mail = parse_mail(opened.settings)
    steps = SuspicionSteps(
        environment=opened.settings.environment,
        clock=opened.clock,
        calls=flows.calls,
        door=flows.door,
        healths=flows.healths,
        silent_s_max=silent_s_max,
        rows_ahead_max=rows_ahead_max,
    )
    jobs: tuple[Job, ...] = (
        Autobudan(
            database=opened.database,
            environment=opened.settings.environment,
            lanes=opened.lanes,
            steps=steps,
        ),
        Nightly(
            database=opened.database,
            environment=opened.settings.environment,
            lanes=opened.lanes,
            envelope=mail[1] if mail else None,
            accounts=build_account_desk(opened),
            losses=Losses(bulk=opened.bulk, environment=opened.settings.environment),
        ),
        SettleDaily(settling=Settling(bulk=opened.bulk, ids=flows.ids)),
        Reconcile(
            tools=BillTools(
                bills=build_bill_days(opened),
                accounts=flows.accounts,
                discrepancies=Discrepancies(database=opened.database, door=flows.door),
                portal_refunds=PortalRefunds(
                    database=opened.database,
                    environment=opened.settings.environment,
                    accounts=flows.accounts,
                    door=flows.refund_door,
                    clock=opened.clock,
                ),
                folder=bill_folder(opened.settings),
                clock=opened.clock,
            ),
            # Half of the cores: the worker's other loops go on meanwhile.
            open_reconciliation=lambda: open_reconciliation(opened, cores=usable_cores() / 2),
        ),
    )
    return JobTurns(
        runs=JobRuns(database=opened.database, plans={job.plan.name: job.plan for job in jobs}),
        desk=build_job_desk(opened),
        jobs={job.plan.name: job for job in jobs},
        holder=f"jobs-{token_hex(8)}",
    )


@asynccontextmanager
async def open_reconciliation(opened: Opened, *, cores: float) -> AsyncGenerator[Reconciliation]:
    """What compares bills with the books on so many cores, with sessions of its own for our side of a day."""
    async with opened.bulk(connections_max=READERS) as bulk:
        yield Reconciliation(
            database=opened.database,
            bulk=bulk,
            environment=opened.settings.environment,
            lanes=opened.lanes,
            folder=bill_folder(opened.settings),
            threads=max(1, int(cores)),
        )


def bill_folder(settings: Settings) -> Path:
    """Where bills lie while they are compared."""
    return settings.folder / "reconcile"


def build_bill_days(opened: Opened) -> BillDays:
    """Which bills are waited for, by what each channel promises."""
    return BillDays(database=opened.database, terms={kind.name: kind.bills for kind in KINDS.values()})


def build_job_desk(opened: Opened) -> JobDesk:
    """What operators do with jobs; it calls no channel."""
    return JobDesk(
        database=opened.database,
        environment=opened.settings.environment,
        lanes=opened.lanes,
        plans={plan.name: plan for plan in PLANS},
        mails=parse_mail(opened.settings) is not None,
    )


def _account_cache(opened: Opened, signer: Signer) -> AccountCache:
    return AccountCache(
        load=_account_loader(opened),
        builders=_builders(opened, signer),
        clock=opened.clock,
    )


async def build_mail_turns(opened: Opened) -> MailTurns:
    """What brings mails to the server of the settings; without one they wait."""
    mail = parse_mail(opened.settings)
    if mail is None:
        return MailTurns(mailing=None)
    async with opened.database.reading() as transaction:
        installation = await stored.find_installation(transaction)
    assert installation is not None, "open_database refused otherwise"
    mailing = Mailing(database=opened.database, post=SmtpPost(mail[0]), installation=str(installation.installation_id))
    return MailTurns(mailing=mailing)


def inspect_account(opened: Opened) -> Callable[[AccountConfig], AccountFacts]:
    """How the keys of an account are judged, its channel not asked; a wrong field is `Refused`, and named."""

    def inspect(config: AccountConfig) -> AccountFacts:
        try:
            return KINDS[config.channel].examine(config, environment=opened.settings.environment)
        except BadSettings as error:
            raise Refused("account_field_wrong", param=error.field_name, detail=error.reason) from error

    return inspect


def build_administration(opened: Opened) -> Administration:
    """What operators set up."""
    return Administration(
        database=opened.database,
        environment=opened.settings.environment,
        box=opened.keys.box,
        lanes=opened.lanes,
    )


def build_account_desk(opened: Opened) -> AccountDesk:
    """What operators do with channel accounts."""
    return AccountDesk(
        database=opened.database,
        administration=build_administration(opened),
        box=opened.keys.box,
        inspect=inspect_account(opened),
    )


def build_sealing(opened: Opened) -> Sealing:
    """Puts what is at rest under the installation's newest key."""
    return Sealing(database=opened.database, box=opened.keys.box)


def build_webhook_secrets(opened: Opened) -> WebhookSecrets:
    """Changes the secrets that sign webhooks."""
    return WebhookSecrets(database=opened.database, box=opened.keys.box)


async def ask_channel(opened: Opened, config: AccountConfig) -> str | None:
    """Asks the account's channel for a trade that nobody made; None where it gives a proven answer, else what came."""
    signer = Signer(threads=1)
    tools = Tools(connect=_connect, signer=signer, monotonic_s=elapsed_s)
    try:
        adapter = KINDS[config.channel].build(config, tools)
        try:
            return await ask_for_nothing(adapter, environment=opened.settings.environment, now=opened.clock.now())
        finally:
            await adapter.end_session()
    finally:
        signer.close()


def _account_loader(opened: Opened) -> Callable[[AccountId], Awaitable[AccountConfig | None]]:
    return lambda account_id: load_account(opened, account_id)


async def load_account(opened: Opened, account_id: AccountId) -> AccountConfig | None:
    """An account with its secrets, as its channel is made ready from it.

    Raises `BadSettings` where this installation's key does not open them.
    """
    async with opened.database.reading() as transaction:
        row = await stored.find_account(transaction, account_id)
    try:
        return None if row is None else open_account(row, box=opened.keys.box)
    except CannotOpen as error:
        raise BadSettings("secrets", "cannot be opened by this installation's key") from error


def build_bare_channel(config: AccountConfig, signer: Signer) -> SessionChannel:
    """The account's adapter with no guard before it: for a measurement of what the guard and all else cost."""
    return KINDS[config.channel].build(config, Tools(connect=_connect, signer=signer, monotonic_s=elapsed_s))


def _builders(opened: Opened, signer: Signer) -> dict[str, Callable[[AccountConfig], GuardedChannel]]:
    """How an account of each channel is made ready."""
    tools = Tools(connect=_connect, signer=signer, monotonic_s=elapsed_s)

    def builder(kind: ChannelKind) -> Callable[[AccountConfig], GuardedChannel]:
        def build(config: AccountConfig) -> GuardedChannel:
            kind.refuse_wrong_place(config, environment=opened.settings.environment)
            ends = [life.ends_at.timestamp() for life in kind.list_key_lives(config)]
            metrics.ACCOUNT_KEY_ENDS.labels(str(config.account_id)).set(min(ends, default=inf))
            return _guarded(config, kind.build(config, tools), opened.clock)

        return build

    return {name: builder(kind) for name, kind in KINDS.items()}


def _connect(*, ssl_context: ssl.SSLContext | None = None) -> FastHttpClient:
    return FastHttpClient(connections_per_host_max=CONNECTIONS_PER_ACCOUNT_MAX, ssl_context=ssl_context)


def _guarded(config: AccountConfig, inner: SessionChannel, clock: SystemClock) -> GuardedChannel:
    return GuardedChannel(inner, account_id=config.account_id, clock=clock)


@asynccontextmanager
async def _running(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Work beside the block, ended with it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        try:
            yield
        finally:
            task.cancel()
