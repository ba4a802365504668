"""The sandbox as one raw ASGI application."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from budan.sandbox.admin import PREFIX as ADMIN_PREFIX
from budan.sandbox.admin import Admin
from budan.sandbox.alarms import Alarms
from budan.sandbox.alipay import PATH as ALIPAY_PATH
from budan.sandbox.alipay import AlipayFace
from budan.sandbox.alipay_bill_files import PATH as ALIPAY_BILL_PATH
from budan.sandbox.alipay_bill_files import AlipayBillFiles
from budan.sandbox.alipay_notice import AlipayAnnouncer
from budan.sandbox.auth_codes import make_payer_id
from budan.sandbox.bills import BillDesk
from budan.sandbox.certificates import Certifier
from budan.sandbox.exchange import (
    Answer,
    Receive,
    Request,
    Scope,
    Send,
    TooLong,
    Withheld,
    json_answer,
    read_request,
    send_answer,
    withhold,
)
from budan.sandbox.fault_page import PATH as FAULT_PATH
from budan.sandbox.fault_page import FaultPage
from budan.sandbox.faults import Dice
from budan.sandbox.ipaynow import PATH as IPAYNOW_PATH
from budan.sandbox.ipaynow import IpaynowFace
from budan.sandbox.ipaynow_notice import IpaynowAnnouncer
from budan.sandbox.journal import Journal
from budan.sandbox.keys import KeyRing
from budan.sandbox.nonces import Nonces
from budan.sandbox.notices import NOTICES_PER_HOST_MAX, Announcer, Notices
from budan.sandbox.payer import Payer
from budan.sandbox.records import ChannelName
from budan.sandbox.swiftpass import PATH as SWIFTPASS_PATH
from budan.sandbox.swiftpass import SwiftpassFace
from budan.sandbox.swiftpass_notice import SwiftpassAnnouncer
from budan.sandbox.truth import Truth
from budan.sandbox.wallet import PATH as WALLET_PATH
from budan.sandbox.wallet import Wallet
from budan.sandbox.weather import ChannelDown, WeatherVane
from budan.sandbox.wechat_v2 import PATHS as WECHAT_V2_PATHS
from budan.sandbox.wechat_v2 import WechatV2Face
from budan.sandbox.wechat_v3 import H5_PATH, WechatFace
from budan.sandbox.wechat_v3_notice import WechatAnnouncer
from budan.sandbox.world import World
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer

_SIGN_THREADS: Final = 2
# What is the sandbox's own and no channel's, by the first part of the path.
_OWN: Final = {ADMIN_PREFIX.strip("/"), WALLET_PATH.strip("/"), FAULT_PATH.strip("/")}
_LOG: Final = logging.getLogger(__name__)


class SandboxApp:
    """Serves until `stop`; `run` must be running beside it."""

    def __init__(self, *, world: World, notices: Notices, client: FastHttpClient) -> None:
        self._world = world
        self._notices = notices
        self._client = client
        self._stopping = asyncio.Event()
        # v2 shares the first part of its paths with Swiftpass, so its own are looked for before.
        wallet = Wallet(world).answer
        self._by_path = {**dict.fromkeys(WECHAT_V2_PATHS, WechatV2Face(world).answer), H5_PATH: wallet}
        # By the first part of the path.
        self._faces: Mapping[str, Callable[[Request], Awaitable[Answer | Withheld]]] = {
            "v3": WechatFace(world).answer,
            ALIPAY_PATH.strip("/"): AlipayFace(world).answer,
            ALIPAY_BILL_PATH.strip("/"): AlipayBillFiles(world).answer,
            SWIFTPASS_PATH.strip("/").split("/")[0]: SwiftpassFace(world).answer,
            IPAYNOW_PATH.strip("/"): IpaynowFace(world).answer,
            ADMIN_PREFIX.strip("/"): Admin(world).answer,
            WALLET_PATH.strip("/"): wallet,
            FAULT_PATH.strip("/"): FaultPage(world).answer,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP exchange."""
        assert scope["type"] == "http"
        request = await read_request(scope, receive)
        if isinstance(request, TooLong):
            await send_answer(Answer(status=413), send)
            return
        answer = await self._answer(request)
        if isinstance(answer, Withheld):
            await withhold(receive, send, stopping=self._stopping)
        else:
            await send_answer(answer, send)

    async def run(self) -> None:
        """Sends notices until it is cancelled."""
        for trade in self._world.truth.list_unfinished():
            self._world.payer.arm(trade)
        await self._notices.run()

    def stop(self) -> None:
        """Lets go of every connection whose answer is withheld."""
        self._stopping.set()

    async def close(self) -> None:
        """Frees what a stopped sandbox holds."""
        await self._client.close()
        self._world.signer.close()
        self._world.truth.close()

    async def _answer(self, request: Request) -> Answer | Withheld:
        try:
            if self._is_of_a_channel(request.path):
                await self._world.vane.endure("")
            return await self._route(request)
        except ChannelDown:
            return Answer(status=503, body=b"service unavailable\n", content_type="text/plain; charset=utf-8")
        except Exception:  # noqa: BLE001 - top of a request: it is logged and answered
            _LOG.exception("%s %s failed in the sandbox itself", request.method, request.path)
            return json_answer({"code": "sandbox_failed", "detail": "see its log"}, status=500)

    async def _route(self, request: Request) -> Answer | Withheld:
        face = self._by_path.get(request.path) or self._faces.get(request.path.split("/", 2)[1])
        if face is not None:
            return await face(request)
        if request.path == "/livez":
            return Answer(status=200, body=b"ok\n", content_type="text/plain; charset=utf-8")
        return Answer(status=404, body=b"not found\n", content_type="text/plain; charset=utf-8")

    def _is_of_a_channel(self, path: str) -> bool:
        if path in self._by_path:
            return True
        first = path.split("/", 2)[1]
        return first in self._faces and first not in _OWN


def build_app(
    *, folder: Path, base_url: str, secure_url: str, certifier: Certifier, time_scale: float, seed: int
) -> SandboxApp:
    """The application on this folder's truth; FolderInUse when another sandbox has it. Needs the running loop."""
    truth = Truth(journal=Journal(folder=folder))
    alarms = Alarms(clock=_now)
    dice = Dice(seed=seed)
    nonces = Nonces()
    world = World(
        truth=truth,
        payer=Payer(
            truth=truth,
            alarms=alarms,
            dice=dice,
            clock=_now,
            payer_id=lambda channel: make_payer_id(channel, nonce=nonces()),
        ),
        alarms=alarms,
        dice=dice,
        keys=KeyRing(),
        signer=Signer(threads=_SIGN_THREADS),
        clock=_now,
        nonce=nonces,
        vane=WeatherVane(),
        bills=BillDesk(),
        base_url=base_url,
        certifier=certifier,
        secure_url=secure_url,
    )
    client = FastHttpClient(connections_per_host_max=NOTICES_PER_HOST_MAX)
    announcers: Mapping[ChannelName, Announcer] = {
        ChannelName.WECHAT_V3: WechatAnnouncer(world),
        ChannelName.ALIPAY: AlipayAnnouncer(world),
        ChannelName.SWIFTPASS: SwiftpassAnnouncer(world),
        ChannelName.IPAYNOW: IpaynowAnnouncer(world),
    }
    notices = Notices(world=world, client=client, announcers=announcers, time_scale=time_scale)
    return SandboxApp(world=world, notices=notices, client=client)


def _now() -> datetime:
    return datetime.now(UTC)
