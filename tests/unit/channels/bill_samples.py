"""One day's bill of each channel, as its protocol's document shows it, with what an account needs to read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from budan.channels.kind import ChannelKind
from budan.cli.wiring import KINDS
from budan.core.numbers import AccountId
from budan.ports.bill import Packing
from budan.ports.channel import AccountConfig
from unit.channels.bills import Desk, sample, zipped
from unit.channels.builders import IPAYNOW_APP_ID, MCHID, SELLER_ID, SWIFTPASS_MCH_ID

BILL_NAME = "20880000000001560156_20260101_业务明细.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A bill of three rows; the first is a payment of 12.80 under `number`. The account is named where a row or the head says."""

    channel: str
    settings: Mapping[str, str]
    lines: tuple[str, ...]
    number: str
    first_row: int = 2
    encoding: str = "utf-8"
    names_account: bool = True

    @property
    def packing(self) -> Packing:
        """As the channel packs it."""
        return Packing.ZIP if self.channel == "alipay" else Packing.PLAIN

    def pack(self, lines: Sequence[str], *, encoding: str | None = None) -> bytes:
        """A file of these lines."""
        text = "".join(f"{line}\r\n" for line in lines).encode(encoding or self.encoding)
        return zipped({BILL_NAME: text}) if self.packing is Packing.ZIP else text

    def desk(self, folder: Path, **settings: str) -> Desk:
        """Who reads it, in a table of its own."""
        reader = self.kind.bill_reader(self.config(**settings))
        return Desk(form=reader.form, account_no=reader.account_no, folder=folder)

    def config(self, **settings: str) -> AccountConfig:
        """An account whose bill it is; it has no keys."""
        return AccountConfig(
            account_id=AccountId(1),
            channel=self.channel,
            name="main",
            enabled=True,
            settings={**self.settings, **settings},
            secrets={},
        )

    @property
    def kind(self) -> ChannelKind:
        """Its channel."""
        return KINDS[self.channel]


SAMPLES = (
    Sample(
        channel="wechat_v3",
        settings={"mchid": MCHID},
        lines=tuple(sample("wechat_v3", after="Synthetic ALL bill")),
        number="T20260101000001",
    ),
    Sample(
        channel="wechat_v2",
        settings={"mch_id": MCHID},
        lines=tuple(sample("wechat_v2_micropay", after="Synthetic old-form ALL bill")),
        number="T20260101000002",
    ),
    Sample(
        channel="alipay",
        settings={"seller_id": SELLER_ID},
        lines=tuple(sample("alipay", after="Synthetic 业务明细.csv")),
        number="T20260101000003",
        first_row=6,
        encoding="gb18030",
    ),
    Sample(
        channel="swiftpass",
        settings={"mch_id": SWIFTPASS_MCH_ID},
        lines=tuple(sample("swiftpass", after="Summary: ")),
        number="T20260101000006",
    ),
    Sample(
        channel="ipaynow",
        settings={"app_id": IPAYNOW_APP_ID},
        lines=tuple(sample("ipaynow", after="**invented** CSV")),
        number="T20260101000005",
        names_account=False,
    ),
)
