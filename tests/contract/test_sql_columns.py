"""What a query gives is what its Python value takes: by name, by type, and by whether it may be NULL."""

import dataclasses
import types
import typing
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from budan.store import (
    acts,
    adjustments,
    asked_refunds,
    audit,
    cashbacks,
    closing,
    contracts,
    day_closing,
    directory,
    jobs,
    ledger,
    losses,
    notices,
    payees,
    rates,
    reconcile,
    refunds,
    rows,
    settlement,
    setup_acts,
    suspects,
    tie_out,
    timeline,
    waiting,
    work,
)
from budan.store.queries import query

Connection = asyncpg.Connection

# The values that the store makes straight from a row.
MADE_FROM_ROWS: dict[str, type] = {
    "query_list_due": work.DueQuestion,
    "webhook_list_due": work.DueWebhook,
    "look_list_due": closing.DueOrder,
    "close_list_due": closing.DueClose,
    "evidence_list_due": work.DueEvidence,
    "work_count_due": work.DueCount,
    "waiting_count": waiting.WaitingCount,
    "rate_list": rates.RateRow,
    "cashback_list_payer": cashbacks.MovementRow,
    "ledger_list_wrong_cashback": ledger.WrongCashback,
    "ledger_list_wrong_budgets": ledger.WrongBudget,
    "ledger_balance_list_moved": ledger.Balance,
    "api_key_list": directory.ApiKeyRow,
    "merchant_list_terms": directory.TermsRow,
    "refund_find_many": refunds.RefundRow,
    "refund_list_due": refunds.DueRefund,
    "refund_find_key": refunds.KnownKey,
    "order_find_many": rows.OrderRow,
    "order_list": rows.OrderRow,
    "trade_list_many": rows.TradeRow,
    "job_list": jobs.JobRow,
    "job_find": jobs.PlanRow,
    "job_list_planned": jobs.PlannedJob,
    "job_run_claim": jobs.ClaimedRun,
    "job_run_mark_overdue": jobs.OverdueRun,
    "job_run_find": jobs.RunRow,
    "job_run_list": jobs.RunRow,
    "job_line_list": jobs.LineRow,
    "audit_list_findings": audit.Finding,
    "report_count_rows": audit.KindCount,
    "report_list_rows": audit.ReportRow,
    "report_list_runs": audit.RunsOfState,
    "report_find": audit.Report,
    "mail_count_waiting": audit.WaitingMail,
    "suspect_list": suspects.SuspectRow,
    "act_list_of": acts.ActRow,
    "notice_scan": timeline.NoticeRow,
    "notice_find_raw": notices.StoredNotice,
    "notice_list_rejected": notices.RejectedNotice,
    "notice_find_rejected": notices.SampledNotice,
    "remedy_scan": notices.ListedRemedy,
    "contradiction_list_open": acts.OpenContradiction,
    "order_find_whole": timeline.WholeOrder,
    "evidence_list_of": timeline.EvidenceRow,
    "notice_list_of": timeline.NoticeRow,
    "posting_list_of": timeline.PostingRow,
    "remedy_list_of": timeline.RemedyRow,
    "contradiction_list_of": timeline.ContradictionRow,
    "refund_list_of": timeline.RefundRow,
    "refund_evidence_list_of": timeline.RefundEvidenceRow,
    "webhook_list_of": timeline.WebhookRow,
    "delivery_list_of": timeline.DeliveryRow,
    "ledger_list_lines": ledger.Line,
    "loss_list": losses.LossRow,
    "ledger_list_statement": ledger.Line,
    "ledger_list_batch_lines": ledger.Line,
    "settlement_lock_due": settlement.DueDay,
    "settlement_batch_list": settlement.BatchRow,
    "settlement_batch_find": settlement.BatchRow,
    "settlement_line_list": settlement.BatchLine,
    "settlement_lock_batches": settlement.LockedBatch,
    "ledger_list_wrong_moves": ledger.WrongMove,
    "ledger_list_wrong_fees": ledger.WrongFee,
    "ledger_list_strays": ledger.Stray,
    "ledger_list_wrong_adjustments": ledger.WrongAdjustment,
    "adjustment_list": adjustments.AdjustmentRow,
    "settlement_payout_list": settlement.PayoutRow,
    "setup_act_list_merchants": setup_acts.SetupActRow,
    "setup_act_list_accounts": setup_acts.SetupActRow,
    "payee_list_of": payees.PayeeRow,
    "payee_list_in_force": payees.PayeeRow,
    "payee_list_sealed": payees.SealedPayee,
    "settlement_list_untied": settlement.UntiedBatch,
    "settlement_list_astray": settlement.AstrayEntry,
    "reconcile_list_trades": reconcile.MovedRow,
    "reconcile_list_refunds": reconcile.MovedRow,
    "reconcile_list_portal_refunds": reconcile.PortalRefund,
    "tie_out_read": tie_out.KeptRow,
    "reconcile_list_runs": reconcile.RunRow,
    "contract_list": contracts.ContractRow,
    "asked_refund_list_due": asked_refunds.AskedRefund,
    "discrepancy_list": reconcile.DiscrepancyRow,
    "discrepancy_count": reconcile.DiscrepancyCount,
    "discrepancy_note_list": reconcile.NoteRow,
    "closing_list_bills": day_closing.BillOfDay,
}
# What a column is called where the value's field says more.
RENAMED = {"id": "order_id"}

PYTHON_TYPES = {
    "int2": int,
    "int4": int,
    "int8": int,
    "float8": float,
    "text": str,
    "text[]": list[str],
    "jsonb": str,
    "bool": bool,
    "bytea": bytes,
    "timestamptz": datetime,
    "date": date,
}


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_dsn)
    yield opened
    await opened.close()


def field_types(made: type) -> dict[str, tuple[type, bool]]:
    """Each field's plain type, and whether it may be None; NewTypes are what they are made of."""
    hints = typing.get_type_hints(made)
    names = (
        made.__struct_fields__ if issubclass(made, msgspec.Struct) else [one.name for one in dataclasses.fields(made)]
    )
    return {name: _plain(hints[name]) for name in names}


def _plain(hint: Any) -> tuple[type, bool]:
    # A NewType or None is the older kind of union.
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        (kept,) = [part for part in typing.get_args(hint) if part is not type(None)]
        return _plain(kept)[0], True
    return getattr(hint, "__supertype__", hint), False


@pytest.mark.parametrize("name", MADE_FROM_ROWS)
async def test_a_row_has_the_fields_of_its_value(connection: Connection, name: str) -> None:
    prepared = await connection.prepare(query(name).sql)
    given = {
        RENAMED.get(column.name, column.name) if name.startswith("order_") else column.name: PYTHON_TYPES[
            column.type.name
        ]
        for column in prepared.get_attributes()
    }
    assert given == {field: plain for field, (plain, _) in field_types(MADE_FROM_ROWS[name]).items()}


@pytest.mark.parametrize(
    ("table", "made"),
    [
        ("orders", rows.OrderRow),
        ("orders", timeline.WholeOrder),
        ("trade", rows.TradeRow),
        ("evidence", timeline.EvidenceRow),
        ("refund_evidence", timeline.RefundEvidenceRow),
        ("posting", timeline.PostingRow),
        ("remedy", timeline.RemedyRow),
        ("webhook", timeline.WebhookRow),
        ("delivery", timeline.DeliveryRow),
        ("operator_act", acts.ActRow),
        ("settlement_batch", settlement.BatchRow),
        ("merchant_payee", payees.PayeeRow),
        ("setup_act", setup_acts.SetupActRow),
    ],
)
async def test_a_field_may_be_none_where_its_column_may_be_null(connection: Connection, table: str, made: type) -> None:
    """`None` means absent and nothing else, so a type that forgets it is a crash on the day it is absent."""
    nullable = {
        row["column_name"]: row["is_nullable"] == "YES"
        for row in await connection.fetch(
            "SELECT column_name, is_nullable FROM information_schema.columns WHERE table_name = $1", table
        )
    }
    fields = {name: may_be_none for name, (_, may_be_none) in field_types(made).items() if name in nullable}
    assert fields == {name: nullable[name] for name in fields}
