"""The page on which a person changes what goes wrong, while everything runs."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from budan.sandbox.alipay_messages import WrongValue, parse_yuan, yuan
from budan.sandbox.choices import AmountFaults
from budan.sandbox.choosing import (
    choose_amounts,
    choose_bill_faults,
    choose_for_placing,
    choose_for_trade,
    choose_odds,
    choose_weather,
    documented_amounts,
)
from budan.sandbox.exchange import Answer, Request
from budan.sandbox.fault_forms import form_fields, read_form, spoken
from budan.sandbox.fault_texts import TEXTS
from budan.sandbox.faults import NO_BILL_FAULTS, NO_FAULTS, BillFaults, FaultOdds, Faults
from budan.sandbox.finding import AdminRefusal, refuse_unknown_account
from budan.sandbox.pages import Pages, View
from budan.sandbox.records import EventKind
from budan.sandbox.weather import Weather
from budan.sandbox.world import World

PATH: Final = "/faults"
_SUBJECT_MAX: Final = 127
_ORDER_KINDS: Final = {"trade": EventKind.FAULTS_CHOSEN, "refunds": EventKind.REFUND_FAULTS_CHOSEN}

_Form = Mapping[str, str]


class FaultPage:
    """Answers /faults; what is chosen counts for the account in the page's address, or for all."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pages = Pages(TEXTS)
        self._acts: Mapping[str, Callable[[_Form, str], None]] = {
            "weather": self._choose_weather,
            "odds": self._choose_odds,
            "odds_back": self._take_odds_back,
            "order": self._choose_for_one,
            "amount": self._choose_amount,
            "forget_amount": self._forget_amount,
            "documented": self._add_documented,
            "bills": self._choose_bills,
        }

    async def answer(self, request: Request) -> Answer:
        """The page, or back to it after something was chosen; a refusal is shown on it."""
        view = View(request)
        account_id = view.query.get("account_id", "")
        try:
            refuse_unknown_account(self._world, account_id)
        except AdminRefusal as refusal:
            return self._page(view, "", refused=refusal)
        if request.method != "POST":
            return self._page(view, account_id, refused=None)
        try:
            _refuse_other_sites(request)
            form = dict(parse_qsl(request.body.decode("latin-1")))
            self._act(form, account_id)
        except AdminRefusal as refusal:
            return self._page(view, account_id, refused=refusal)
        query = urlencode({"account_id": account_id, "lang": view.language, "saved": form["act"]})
        return Answer(status=303, headers={"Location": f"{PATH}?{query}"})

    def _act(self, form: _Form, account_id: str) -> None:
        act = self._acts.get(form.get("act", ""))
        if act is None:
            raise AdminRefusal(404, "not_found")
        act(form, account_id)

    def _page(self, view: View, account_id: str, *, refused: AdminRefusal | None) -> Answer:
        choices, texts = self._world.truth.choices, TEXTS[view.language]
        amounts = [row for row in choices.amounts if row.account_id == account_id]
        shown: dict[str, Any] = {
            "account_id": account_id,
            "accounts": [(account.account_id, account.CHANNEL.value) for account in self._world.truth.list_accounts()],
            "action": f"{PATH}?{urlencode({'account_id': account_id, 'lang': view.language})}",
            "weather": form_fields(self._world.vane.over(account_id)),
            "odds": form_fields(choices.odds_of(account_id)),
            "has_own_odds": account_id in choices.account_odds,
            "faults": form_fields(NO_FAULTS),
            "amounts": [(row.amount_minor, yuan(row.amount_minor), spoken(row.faults, texts)) for row in amounts],
            "bills": form_fields(choices.bill_faults.get(account_id, NO_BILL_FAULTS)),
            "saved": view.query.get("saved", "") in self._acts and refused is None,
            "refused": "" if refused is None else texts.get(f"refused_{refused.code}", refused.code),
            "detail": "" if refused is None else refused.detail,
        }
        return self._pages.render("faults.html", view, shown, status=200 if refused is None else refused.status)

    def _choose_weather(self, form: _Form, account_id: str) -> None:
        choose_weather(self._world, read_form(form, Weather), account_id=account_id)

    def _choose_odds(self, form: _Form, account_id: str) -> None:
        choose_odds(self._world, read_form(form, FaultOdds), account_id=account_id)

    def _take_odds_back(self, _: _Form, account_id: str) -> None:
        choose_odds(self._world, None, account_id=account_id)

    def _choose_bills(self, form: _Form, account_id: str) -> None:
        choose_bill_faults(self._world, read_form(form, BillFaults), account_id=account_id)

    def _choose_for_one(self, form: _Form, account_id: str) -> None:
        """Faults of one order: of that number, of its refunds, or of the next one of this subject."""
        whose, name, faults = form.get("whose", ""), form.get("which", ""), read_form(form, Faults)
        if whose in _ORDER_KINDS:
            choose_for_trade(self._world, _ORDER_KINDS[whose], faults, trade_no=name, account_id=account_id)
        elif 0 < len(name) <= _SUBJECT_MAX:
            choose_for_placing(self._world, name, faults)
        else:
            raise AdminRefusal(400, "value_wrong", "which")

    def _choose_amount(self, form: _Form, account_id: str) -> None:
        row = AmountFaults(
            amount_minor=_read_yuan(form.get("which", "")), faults=read_form(form, Faults), account_id=account_id
        )
        choose_amounts(self._world, [*self._amounts_without({row.amount_minor}, account_id), row])

    def _forget_amount(self, form: _Form, account_id: str) -> None:
        gone = _read_yuan(form.get("which", ""))
        choose_amounts(self._world, self._amounts_without({gone}, account_id))

    def _add_documented(self, _: _Form, account_id: str) -> None:
        rows = documented_amounts(account_id)
        choose_amounts(self._world, [*self._amounts_without({row.amount_minor for row in rows}, account_id), *rows])

    def _amounts_without(self, amounts_minor: set[int], account_id: str) -> list[AmountFaults]:
        return [
            row
            for row in self._world.truth.choices.amounts
            if row.account_id != account_id or row.amount_minor not in amounts_minor
        ]


def _read_yuan(text: str) -> int:
    try:
        return parse_yuan(text.strip())
    except WrongValue as error:
        raise AdminRefusal(400, "value_wrong", "amount") from error


def _refuse_other_sites(request: Request) -> None:
    """A page of another site can post forms to this port; its browser says where it came from."""
    origin = request.headers.get("origin", "")
    if origin and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise AdminRefusal(403, "other_site", origin)
