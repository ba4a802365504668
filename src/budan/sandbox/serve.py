"""Runs the sandbox as a process of its own."""

import asyncio
import ipaddress
import socket
import ssl
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
import uvloop

from budan.sandbox.asgi import SandboxApp, build_app
from budan.sandbox.certificates import Certifier

_GRACE_S: Final = 2
_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 2_048
_START_S: Final = 10.0


class NotLoopback(Exception):  # noqa: N818 - names what was asked
    """Anybody who reaches the sandbox may pay and read keys in it, so it listens on no other address."""


class CannotListen(Exception):  # noqa: N818 - names what was found
    """Somebody else listens at the address, or it is none of this machine's."""


def run(
    *,
    host: str,
    port: int,
    folder: Path,
    time_scale: float,
    seed: int,
    ready_file: Path | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; `port` 0 takes a free one.

    When it answers it says so in one line on stdout, writes its address into `ready_file` and calls `on_ready`.
    Raises NotLoopback, FolderInUse, or CannotListen when the port is taken.
    """
    if not _is_loopback(host):
        raise NotLoopback(host)
    try:
        listener = _listen(host, port)
    except OSError as error:
        raise CannotListen(f"{host}:{port}: {error.strerror or error}") from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            _serve(listener, folder=folder, time_scale=time_scale, seed=seed, ready_file=ready_file, on_ready=on_ready)
        )


async def _serve(
    listener: socket.socket,
    *,
    folder: Path,
    time_scale: float,
    seed: int,
    ready_file: Path | None,
    on_ready: Callable[[], None] | None,
) -> None:
    url = _url(listener)
    certifier = Certifier(folder)
    host = str(listener.getsockname()[0])
    secure_listener = _listen_securely(host, certifier)
    app = build_app(
        folder=folder,
        base_url=url,
        secure_url=_url(secure_listener, scheme="https"),
        certifier=certifier,
        time_scale=time_scale,
        seed=seed,
    )
    secure_server = _SecureServer(app, certifier=certifier, host=host)
    server = _Server(app, url=url, ready_file=ready_file, on_ready=on_ready)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(app.run())
            securing = tasks.create_task(secure_server.serve(sockets=[secure_listener]))
            async with asyncio.timeout(_START_S):
                await secure_server.is_ready.wait()
            await server.serve(sockets=[listener])
            running.cancel()
            secure_server.should_exit = True
            await securing
    finally:
        await app.close()


class _SecureServer(uvicorn.Server):
    """The same application where TLS is spoken and a merchant shows a certificate that was issued here."""

    def __init__(self, app: SandboxApp, *, certifier: Certifier, host: str) -> None:
        pair = str(certifier.certify_server(host))
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
                ssl_certfile=pair,
                ssl_keyfile=pair,
                ssl_ca_certs=str(certifier.issuer_path),
                ssl_cert_reqs=ssl.CERT_REQUIRED,
            )
        )
        self.is_ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's own, and then the word that it is done."""
        await super().startup(sockets=sockets)
        self.is_ready.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Takes none: the other server hears them, and ends this one."""
        yield


class _Server(uvicorn.Server):
    """Tells when it is ready, and ends without the signal that asked it to."""

    def __init__(
        self, app: SandboxApp, *, url: str, ready_file: Path | None, on_ready: Callable[[], None] | None
    ) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        super().__init__(config)
        self._app = app
        self._url = url
        self._ready_file = ready_file
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn's own, and then the word that it is done."""
        await super().startup(sockets=sockets)
        if self._ready_file is not None:
            draft = self._ready_file.with_suffix(".part")
            draft.write_text(f"{self._url}\n", "utf-8")
            draft.replace(self._ready_file)
        sys.stdout.write(f"sandbox ready {self._url}\n")
        sys.stdout.flush()
        if self._on_ready is not None:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # their name
        """Stops serving; uvicorn's own would raise the signal again and end the process by it."""
        assert frame is None or sig > 0
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._app.stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    return listener


def _listen_securely(host: str, certifier: Certifier) -> socket.socket:
    """At the port that merchants were told, or at another one when that is taken."""
    try:
        listener = _listen(host, certifier.find_port())
    except OSError:
        listener = _listen(host, 0)
    certifier.keep_port(int(listener.getsockname()[1]))
    return listener


def _url(listener: socket.socket, *, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
