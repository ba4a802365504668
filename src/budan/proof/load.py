"""Makes orders and has them paid, as many as a platform takes or at a steady rate; a program of its own, because it costs too."""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter, time
from typing import Final, Literal

import msgspec
import uvloop

from budan.proof.client import Client, HttpAnswer, Unreachable, render_request
from budan.proof.ranks import percentile

ANSWER_S_MAX: Final = 20.0
# Above this the platform is far behind its rate, and more would only lie in queues.
LIVES_OPEN_MAX: Final = 20_000
TAIL_EVERY_S: Final = 0.005
REFUSED_SHOWN_MAX: Final = 3
_CHUNK_BYTES: Final = 1 << 20
_QR_BEFORE: Final = b'"qr_text":"'
_CREATED: Final = 201
_OK: Final = 200
_UNPROCESSABLE: Final = 422

Kind = Literal["lives", "creates", "refusals"]


class LoadShop(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant that takes part."""

    merchant_id: int
    api_key: str


class LoadWish(msgspec.Struct, frozen=True, kw_only=True):
    """What to do for how long.

    `lives`: create with payment, pay at the sandbox, and count as open until the merchant's file has the event.
    `creates`: orders for the cashier page. `refusals`: the same request with an amount of zero, which is refused after
    the key, the headers and the body were read and before the database is asked for anything.
    `rate_per_s` absent keeps `open_max` going at all times; given, arrivals come at random at that mean rate.
    """

    kind: Kind
    public_url: str
    sandbox_url: str
    events_file: str
    shops: list[LoadShop]
    tag: str
    duration_s: float
    connections: int
    open_max: int
    lives_max: int
    rate_per_s: float | None = None


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; times in milliseconds, those of arrivals at a rate from the moment they were meant for."""

    began_at_s: float
    ended_at_s: float
    done: int
    wrong: int
    wrong_examples: list[str]
    create_ms: tuple[float, float]
    pay_ms: tuple[float, float]
    late_ms: tuple[float, float]


def percentiles(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile; zeros when there is nothing."""
    ordered = sorted(values)
    return percentile(ordered, 50), percentile(ordered, 99)


class _Load:
    def __init__(self, wish: LoadWish) -> None:
        self._wish = wish
        self._api = Client(wish.public_url, connections_max=wish.connections)
        self._sandbox = Client(wish.sandbox_url, connections_max=wish.connections)
        self._heads = [_create_head(shop) for shop in wish.shops]
        amount_minor = 0 if wish.kind == "refusals" else 1_000
        payment = ',"payment":{"method":"native","channel":"wechat_v3"}' if wish.kind == "lives" else ""
        self._tail = f'","amount_minor":{amount_minor},"currency":"CNY","subject":"Load"{payment}}}'.encode()
        self._wanted = _UNPROCESSABLE if wish.kind == "refusals" else _CREATED
        self._count = 0
        self._open = 0
        self._room = asyncio.Event()
        self._done = 0
        self._wrong: list[str] = []
        self._create_ms: list[float] = []
        self._pay_ms: list[float] = []
        self._late_ms: list[float] = []

    async def run(self) -> LoadResult:
        wish = self._wish
        began_at_s = time()
        end_s = perf_counter() + wish.duration_s
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow(Path(wish.events_file))) if wish.kind == "lives" else None
            if wish.rate_per_s is None:
                await asyncio.gather(*(self._keep_going(end_s) for _ in range(wish.connections)))
            else:
                await self._arrive(wish.rate_per_s, end_s=end_s)
            if following is not None:
                following.cancel()
        self._api.close()
        self._sandbox.close()
        return LoadResult(
            began_at_s=began_at_s,
            ended_at_s=time(),
            done=self._done,
            wrong=len(self._wrong),
            wrong_examples=self._wrong[:REFUSED_SHOWN_MAX],
            create_ms=percentiles(self._create_ms),
            pay_ms=percentiles(self._pay_ms),
            late_ms=percentiles(self._late_ms),
        )

    async def _keep_going(self, end_s: float) -> None:
        while perf_counter() < end_s and self._count < self._wish.lives_max:
            while self._open >= self._wish.open_max:
                self._room.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, end_s - perf_counter())):
                        await self._room.wait()
                if perf_counter() >= end_s:
                    return
            await self._live(meant_s=perf_counter())

    async def _arrive(self, rate_per_s: float, *, end_s: float) -> None:
        # Chaos must be repeatable, and nothing secret depends on it.
        chance = random.Random(1)  # noqa: S311 - a seeded run is the purpose
        meant_s = perf_counter()
        async with asyncio.TaskGroup() as tasks:
            while meant_s < end_s and self._count < self._wish.lives_max:
                meant_s += chance.expovariate(rate_per_s)
                if (wait_s := meant_s - perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                if self._open < LIVES_OPEN_MAX:
                    tasks.create_task(self._live(meant_s=meant_s))
                else:
                    self._wrong.append("too far behind its rate")

    async def _live(self, *, meant_s: float) -> None:
        number = self._count
        self._count += 1
        head, prefix, key_head = self._heads[number % len(self._heads)]
        reference = b"%b-%b%07d" % (prefix, self._wish.tag.encode(), number)
        body = b'{"reference":"' + reference + self._tail
        request = b"%b%b%b\r\nContent-Length: %d\r\n\r\n%b" % (head, key_head, reference, len(body), body)
        self._late_ms.append((perf_counter() - meant_s) * 1_000)
        self._open += self._wish.kind == "lives"
        answer = await self._ask(self._api, request, wanted=self._wanted)
        created_s = perf_counter()
        self._create_ms.append((created_s - meant_s) * 1_000)
        if answer is None or self._wish.kind != "lives":
            self._done += answer is not None
            self._open -= answer is None and self._wish.kind == "lives"
            return
        before, _, after = answer.body.partition(_QR_BEFORE)
        assert before
        request = _pay_request(after.partition(b'"')[0])
        if await self._ask(self._sandbox, request, wanted=_OK) is None:
            self._open -= 1
            return
        self._pay_ms.append((perf_counter() - created_s) * 1_000)
        self._done += 1

    async def _ask(self, client: Client, request: bytes, *, wanted: int) -> HttpAnswer | None:
        try:
            answer = await client.send(request, timeout_s=ANSWER_S_MAX)
        except Unreachable as error:
            self._wrong.append(str(error))
            return None
        if answer.status == wanted:
            return answer
        self._wrong.append(f"{answer.status} {answer.body[:200].decode(errors='replace')}")
        return None

    async def _follow(self, path: Path) -> None:
        """Each new line of the merchant's file is a life that has come to its end."""
        with path.open("rb") as lines:
            lines.seek(0, 2)
            while True:
                ended = lines.read(_CHUNK_BYTES).count(b"\n")
                if ended:
                    self._open -= ended
                    self._room.set()
                await asyncio.sleep(TAIL_EVERY_S)


def _create_head(shop: LoadShop) -> tuple[bytes, bytes, bytes]:
    lines = (
        "POST /v1/orders HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Authorization: Bearer {shop.api_key}",
    )
    return "\r\n".join(lines).encode(), str(shop.merchant_id).encode(), b"\r\nIdempotency-Key: "


def _pay_request(code_text: bytes) -> bytes:
    body = b'{"code_text":"' + code_text + b'"}'
    return render_request(method="POST", path="/sandbox/pay", headers="Content-Type: application/json\r\n", body=body)


async def _run(wish: LoadWish) -> LoadResult:
    return await _Load(wish).run()


def main() -> None:
    """Does what the wish on stdin says, and prints the result."""
    wish = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadWish)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_run(wish))
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


if __name__ == "__main__":
    main()
