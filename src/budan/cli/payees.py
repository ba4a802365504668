"""The command that shows and sets whom a merchant's payouts go to."""

from dataclasses import dataclass

import click

from budan.cli.frame import OUT, by_option, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.secret_files import read_secret_file
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.shown import show_moment
from budan.cli.wiring import open_database
from budan.core.errors import Refused
from budan.core.payee import check_payee
from budan.flows.payees import Payees, StandingPayee


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What a person tells of a payee."""

    holder: str | None
    bank_name: str | None
    bank_code: str | None
    is_card: bool
    number_file: str | None
    reason: str | None

    def refuse_beside_confirm(self) -> None:
        """A confirmation tells the number alone: whoever would tell more means another payee."""
        if (self.holder, self.bank_name, self.bank_code, self.reason) != (None,) * 4 or self.is_card:
            raise Refused("options_exclude", param="confirm", detail="a confirmation changes nothing of the proposal")

    def number(self) -> str:
        """The number from its file."""
        if self.number_file is None:
            raise Refused("option_missing", param="number_file", detail="the account's number; - is the standard input")
        return read_secret_file("number_file", self.number_file)


_NOTHING = _Given(holder=None, bank_name=None, bank_code=None, is_card=False, number_file=None, reason=None)


@click.command("payee")
@click.argument("merchant_id", type=int)
@click.option("--holder", default=None, help="Whose account it is, as the bank has the name.")
@click.option("--bank", "bank_name", default=None, help="The bank and its branch by name.")
@click.option("--bank-code", default=None, help="The branch's number in CNAPS, 12 digits.")
@click.option("--card", "is_card", is_flag=True, help="The number is a bank card's, whose last digit checks it.")
@click.option("--number-file", default=None, metavar="PATH", help="The account's number; - is the standard input.")
@click.option("--reason", default=None, help="Why, and whose word it is.")
@click.option("--confirm", type=int, default=None, metavar="PROPOSAL", help="Agree to what another person proposed.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def payee(
    *,
    merchant_id: int,
    holder: str | None,
    bank_name: str | None,
    bank_code: str | None,
    is_card: bool,
    number_file: str | None,
    reason: str | None,
    confirm: int | None,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Show whom a merchant's payouts go to, now and before, or change it: one person proposes, another one confirms.

    The second person gives the number again, from the merchant's own word, for all that is shown of it is how it ends.
    """
    given = _Given(
        holder=holder,
        bank_name=bank_name,
        bank_code=bank_code,
        is_card=is_card,
        number_file=number_file,
        reason=reason,
    )

    async def act() -> list[StandingPayee]:
        async with open_database(settings, dsn=database_dsn(settings)) as opened:
            payees = Payees(database=opened.database, box=opened.keys.box)
            if confirm is not None:
                given.refuse_beside_confirm()
                await payees.confirm(merchant_id, confirm, number=given.number(), by=by)
            elif given != _NOTHING:
                await _propose(payees, merchant_id, given, by=by)
            return await payees.list_of(merchant_id)

    rows = run_async(act())
    if as_json:
        print_json({"merchant_id": merchant_id, "payees": [_show(row) for row in rows]})
    elif not rows:
        OUT.print("no payee: payout files leave this merchant out")
    else:
        _print(rows)


def mask(number_end: str) -> str:
    """A payee's number as people see it."""
    return f"****{number_end}"


async def _propose(payees: Payees, merchant_id: int, given: _Given, *, by: str) -> None:
    proposed = check_payee(
        holder=given.holder or "",
        bank_name=given.bank_name,
        bank_code=given.bank_code,
        is_card=given.is_card,
        number=given.number(),
    )
    await payees.propose(merchant_id, proposed, by=by, reason=given.reason or "")


def _show(one: StandingPayee) -> dict[str, object]:
    row = one.row
    return {
        "proposal": row.id,
        "standing": one.standing.value,
        "holder": row.holder,
        "bank": row.bank_name,
        "bank_code": row.bank_code,
        "card": row.is_card,
        "number": mask(row.number_end),
        "proposed_by": row.acted_by,
        "proposed_at": row.acted_at,
        "reason": row.reason,
        "confirmed_by": row.confirmed_by,
        "confirmed_at": row.confirmed_at,
    }


def _print(rows: list[StandingPayee]) -> None:
    """A few lines for each: a table of all that is to be compared would be wider than a screen."""
    for one in rows:
        row, standing = one.row, one.standing.value.replace("_", " ")
        bank = ", ".join(part for part in (row.bank_name, row.bank_code) if part)
        number = f"{'card' if row.is_card else 'account'} {mask(row.number_end)}"
        OUT.print(f"{row.id}: {standing}: {row.holder}, {number} at {bank}")
        OUT.print(f"  proposed {show_moment(row.acted_at)} by {row.acted_by}: {row.reason}")
        if row.confirmed_by is not None:
            OUT.print(f"  confirmed {show_moment(row.confirmed_at)} by {row.confirmed_by}")
