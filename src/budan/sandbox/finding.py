"""What the sandbox's own interface and its pages look up, and how they refuse."""

from budan.sandbox.records import Trade
from budan.sandbox.world import World


class AdminRefusal(Exception):  # noqa: N818 - an answer, not an error
    """The request cannot be met; `code` is stable."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


def find_trade(world: World, *, trade_no: str, account_id: str) -> Trade:
    """The trade of this number; AdminRefusal when there is none, or one at several accounts and none was named."""
    if account_id:
        trade = world.truth.find(account_id=account_id, trade_no=trade_no)
        found = [] if trade is None else [trade]
    else:
        found = world.truth.list_by_number(trade_no)
    if not found:
        raise AdminRefusal(404, "trade_unknown", trade_no)
    if len(found) > 1:
        raise AdminRefusal(409, "account_id_needed", "several accounts have a trade of this number")
    return world.payer.settled(found[0])


def refuse_unknown_account(world: World, account_id: str) -> None:
    """AdminRefusal when an account is named that is not here."""
    if account_id and world.truth.find_account(account_id) is None:
        raise AdminRefusal(404, "account_unknown", account_id)
