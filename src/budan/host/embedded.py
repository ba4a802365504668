"""PostgreSQL as our own child: made on first use, recovered with progress, gone when we are gone."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from budan.host import folders
from budan.host.cluster import SERVER_ENVIRONMENT, make_cluster, refuse_other_version
from budan.host.endings import wait_ended
from budan.host.errors import FolderInUse, StartFailed
from budan.host.folders import SOCKET_PORT, ServerUser
from budan.host.program import server_programs
from budan.host.tethered import tethered

Progress = Callable[[str], None]

MAX_CONNECTIONS: Final = 200
# A server that must read a long log after a crash tells its progress each second; this bounds a silent one.
SILENCE_S_MAX: Final = 120.0
# A killed server's last backends need moments to notice, and hold the folder until then.
PREDECESSOR_S_MAX: Final = 15.0
HEALTHY_PREDECESSOR_S_MAX: Final = 2.0
# Fast shutdown (clients are cut off, then a checkpoint), then immediate, then none of its own doing: 5 s in all.
_STOP_LADDER: Final = ((signal.SIGINT, 3.5), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 0.5))
_LOOK_AGAIN_S: Final = 0.01
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_LOG_TAIL_BYTES: Final = 4_000
_SHARED_BUFFERS_MB_MAX: Final = 512
# What the server logs on its way up, and what a person who waits wants to read.
_STARTUP_PHRASES: Final = ("was interrupted", "was not properly shut down", "redo", "syncing data directory")

# The kernel ties a child to the thread that started it. This one lives as long as the interpreter, whoever calls.
_spawner: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="postgres-spawner")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPostgres:
    """A server that took connections at `dsn` when this was made, until `stop` or the end of our process."""

    dsn: str
    pid: int
    folder: Path
    socket_dir: Path
    _child: "subprocess.Popen[bytes]" = field(repr=False)

    def exit_code(self) -> int | None:
        """None while the server runs; its exit code, or minus the signal, once it ended by itself or by us."""
        return self._child.poll()

    async def wait_ended(self) -> int:
        """The exit code, as soon as the server has ended for whatever reason; cancelling stops only the waiting."""
        # Once the code was asked for, the number may belong to another program.
        if (code := self._child.poll()) is not None:
            return code
        await wait_ended(self.pid)
        return self._child.wait()

    def stop(self) -> None:
        """The server is gone within 5 s, cleanly if it can. Safe to repeat."""
        for number, patience_s in _STOP_LADDER:
            if self._child.poll() is not None:
                return
            self._child.send_signal(number)
            try:
                self._child.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        assert self._child.poll() is not None, "nothing survives SIGKILL"

    def kill(self) -> None:
        """The server dies as in a crash: nothing is flushed; the next start recovers."""
        self._child.kill()
        self._child.wait(_STOP_LADDER[-1][1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start(*, folder: Path, durable: bool, progress: Progress) -> RunningPostgres:
    """A server on `folder` that takes connections; on first use the database is made there.

    Blocks: 1 s at most when nothing is to be recovered, some seconds on first use, longer after a crash; `progress`
    gets a line for everything that takes time. `durable=False` survives no power cut: for tests only.
    The same folder has the same dsn at every start. No TCP: the socket lies in a folder that only the server's user
    (and root) may enter. Raises DatabaseNotStarted in one of its kinds.
    """
    folder = folder.resolve()
    user = folders.server_user(folder)
    # Before, so that a refusal leaves nothing behind; after, for a umask that closes what we make.
    folders.refuse_barrier(folder, user=user)
    folders.make_private(folder, user=user)
    folders.refuse_barrier(folder, user=user)
    lock = _lock(folder, progress=progress)
    try:
        programs = server_programs(folder, user=user, progress=progress)
        cluster = folder / "cluster"
        if not cluster.exists():
            make_cluster(cluster, programs=programs, user=user, durable=durable, progress=progress)
        refuse_other_version(cluster)
        _remove_stale_pid_file(cluster, progress=progress)
        socket_dir = folders.socket_folder(folder, user=user)
        log = _open_log(folder)
        begin = os.fstat(log).st_size
        argv = [programs / "postgres", "-D", cluster, *_options(socket_dir=socket_dir, durable=durable)]
        child = _spawner.submit(_spawn, argv, user=user, log=log, lock=lock).result()
    finally:
        # From here on the server and its backends hold the lock, until the last of them is gone.
        os.close(lock)
    _wait_until_ready(child, cluster=cluster, log=folder / "server.log", begin=begin, progress=progress)
    return RunningPostgres(dsn=_dsn(socket_dir), pid=child.pid, folder=folder, socket_dir=socket_dir, _child=child)


def find_running_dsn(folder: Path) -> str | None:
    """The dsn of a server that somebody else started on `folder` and that is ready, or None."""
    cluster = folder.resolve() / "cluster"
    lines = _pid_file_lines(cluster)
    if len(lines) <= _READY_LINE or lines[_READY_LINE] != "ready" or not _works_in(cluster, pid=lines[0]):
        return None
    return _dsn(Path(lines[_SOCKET_LINE]))


def has_cluster(folder: Path) -> bool:
    """Whether somebody has ever started a server on `folder`."""
    return (folder / "cluster").is_dir()


def _dsn(socket_dir: Path) -> str:
    # The port is said, so that no PGPORT of the environment changes the socket's name.
    return f"postgresql://budan@/budan?host={quote(str(socket_dir))}&port={SOCKET_PORT}"


def _lock(folder: Path, *, progress: Progress) -> int:
    """A descriptor whose lock no other server's family on this folder holds; the child inherits it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # A server that is well is not about to go, unless its parent was killed this moment.
    patience_s = HEALTHY_PREDECESSOR_S_MAX if find_running_dsn(folder) else PREDECESSOR_S_MAX
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                pid = next(iter(_pid_file_lines(folder / "cluster")), "unknown")
                raise FolderInUse(
                    f"another PostgreSQL (pid {pid}) runs on {folder}: stop that budan, or choose another folder"
                ) from None
        else:
            return lock
        if not told:
            progress(f"waiting for the last server on {folder} to end")
            told = True
        time.sleep(_LOOK_AGAIN_S)


# Lines of postmaster.pid (src/include/utils/pidfile.h), counted from zero.
_SOCKET_LINE: Final = 4
_READY_LINE: Final = 7


def _pid_file_lines(cluster: Path) -> list[str]:
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text("utf-8").splitlines()]
    except OSError:
        return []


def _works_in(cluster: Path, *, pid: str) -> bool:
    # A server's working folder is its cluster; a number that was given to another program points elsewhere.
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == cluster
    except OSError:
        return False


def _remove_stale_pid_file(cluster: Path, *, progress: Progress) -> None:
    """Called under the lock. A server that we did not start is refused; a file whose server is gone is removed.

    PostgreSQL itself would take any living process with that number for its server: after a restart of a container
    that is likely to be one of ours.
    """
    lines = _pid_file_lines(cluster)
    if not lines:
        return
    if _works_in(cluster, pid=lines[0]):
        raise FolderInUse(f"a PostgreSQL that is not ours (pid {lines[0]}) runs on {cluster}: stop it (kill -INT)")
    progress("the last server did not end in order; recovering")
    (cluster / "postmaster.pid").unlink()


def bound_log(folder: Path, *, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Put the log of the server on `folder` aside once it is longer, in place of what was put aside before; safe to repeat.

    The server writes on in the same file: what it says between the copy and the cut is lost. Where the disk has no room
    for the copy, only the room counts.
    """
    log = folder / "server.log"
    if not log.exists() or log.stat().st_size <= bytes_max:
        return
    aside = log.with_suffix(".log.1")
    try:
        shutil.copy(log, aside)
    except OSError:
        aside.unlink(missing_ok=True)
    os.truncate(log, 0)


def _open_log(folder: Path) -> int:
    bound_log(folder)
    log = folder / "server.log"
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _options(*, socket_dir: Path, durable: bool) -> list[str]:
    settings = {
        "listen_addresses": "",
        "port": str(SOCKET_PORT),
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "max_connections": str(MAX_CONNECTIONS),
        "shared_buffers": f"{_shared_buffers_mb()}MB",
        "max_wal_size": "2GB",
        "checkpoint_completion_target": "0.9",
        # One statement may touch every partition of a table.
        "max_locks_per_transaction": "256",
        # Solid state is the rule; the default speaks of disks that turn.
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        "log_checkpoints": "off",
        "log_startup_progress_interval": "1s",
        "fsync": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
    }
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _shared_buffers_mb() -> int:
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
    return max(64, min(_SHARED_BUFFERS_MB_MAX, memory_mb // 8))


def _spawn(argv: list[str | Path], *, user: ServerUser, log: int, lock: int) -> "subprocess.Popen[bytes]":
    try:
        # SIGQUIT is the immediate shutdown: when we die there is nobody to wait for a checkpoint, and the log recovers.
        return subprocess.Popen(  # noqa: S603 - the wheel's own program
            tethered(argv, death_signal=signal.SIGQUIT, user=user if os.geteuid() == 0 else None),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=SERVER_ENVIRONMENT,
            cwd="/",
            pass_fds=(lock,),
            # Ctrl-C would be its fast shutdown: when the server ends is ours to decide.
            start_new_session=True,
        )
    finally:
        os.close(log)


def _wait_until_ready(
    child: "subprocess.Popen[bytes]", *, cluster: Path, log: Path, begin: int, progress: Progress
) -> None:
    try:
        _follow_start(child, cluster=cluster, log=log, begin=begin, progress=progress)
    except BaseException:
        child.kill()
        child.wait(_STOP_LADDER[-1][1])
        raise


def _follow_start(
    child: "subprocess.Popen[bytes]", *, cluster: Path, log: Path, begin: int, progress: Progress
) -> None:
    heard_at = time.monotonic()
    with log.open(errors="replace") as lines:
        lines.seek(begin)
        while time.monotonic() - heard_at < SILENCE_S_MAX:
            for line in lines:
                heard_at = time.monotonic()
                if any(phrase in line for phrase in _STARTUP_PHRASES):
                    progress(line.partition("LOG:")[2].strip())
            if child.poll() is not None:
                raise StartFailed(f"PostgreSQL ended with {child.returncode}; {log} ends with\n{_tail(log, begin)}")
            found = _pid_file_lines(cluster)
            if len(found) > _READY_LINE and found[0] == str(child.pid) and found[_READY_LINE] == "ready":
                return
            time.sleep(_LOOK_AGAIN_S)
    raise StartFailed(f"PostgreSQL said nothing for {SILENCE_S_MAX:.0f} s; {log} ends with\n{_tail(log, begin)}")


def _tail(log: Path, begin: int) -> str:
    return log.read_bytes()[begin:][-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
