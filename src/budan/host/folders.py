"""Who owns the database's files, where they lie, and whether that user can get there."""

import hashlib
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from budan.host.errors import FolderUnusable

# A Unix socket's address holds 107 bytes and a closing zero (unix(7)).
SOCKET_PATH_BYTES_MAX: Final = 107
SOCKET_PORT: Final = 5432
# PostgreSQL refuses to run as root. An administrator may make the first user; the second is everywhere.
_UNPRIVILEGED_NAMES: Final = ("budan", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerUser:
    """The user that PostgreSQL runs as."""

    name: str
    uid: int
    gid: int


def default_folder(*, environment: str) -> Path:
    """Where an environment's database lies unless told otherwise.

    Root gets /var/lib: the server runs unprivileged and could not pass /root. Others get XDG's state folder.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/budan") / environment
    state = os.environ.get("XDG_STATE_HOME", "")
    # XDG: a relative path is invalid and must be ignored.
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "budan" / environment


def server_user(folder: Path) -> ServerUser:
    """We ourselves; as root the owner of the files that are there, else an unprivileged user."""
    if os.geteuid() != 0:
        return ServerUser(name=_name_of(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    if folder.exists() and (found := folder.stat()).st_uid != 0:
        return ServerUser(name=_name_of(found.st_uid), uid=found.st_uid, gid=found.st_gid)
    for name in _UNPRIVILEGED_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise FolderUnusable("PostgreSQL does not run as root and there is no user `budan` or `nobody`: useradd -r budan")


def make_private(folder: Path, *, user: ServerUser) -> None:
    """`folder` exists; if we had to make it, it is `user`'s alone. What was there is left as it was."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise FolderUnusable(f"{folder} is no folder: choose another place for the database") from None
        return
    except OSError as error:
        raise FolderUnusable(f"{folder} cannot be made ({error.strerror}): choose a folder you may write to") from error
    if os.geteuid() == 0:
        os.chown(folder, user.uid, user.gid)


def find_barrier(path: Path, *, user: ServerUser) -> Path | None:
    """The first folder on the way to `path`, itself included, that `user` may not pass."""
    way = [*reversed(path.parents), path]
    return next((step for step in way if step.is_dir() and not _may_pass(step, user=user)), None)


def refuse_barrier(path: Path, *, user: ServerUser) -> None:
    """Raise FolderUnusable when `user` cannot get to `path`. We never change the mode of a folder that is not ours."""
    barrier = find_barrier(path, user=user)
    if barrier is None:
        return
    mode = stat.filemode(barrier.stat().st_mode)
    raise FolderUnusable(
        f"PostgreSQL runs as `{user.name}` and cannot pass {barrier} ({mode}). Choose a database folder outside of it"
        f" ({default_folder(environment='local')} works), or let others pass: chmod o+x {barrier}"
    )


def socket_folder(folder: Path, *, user: ServerUser) -> Path:
    """A folder for the server's socket that only `user` may enter; the same for the same `folder`, run after run."""
    inside = folder / "run"
    if len(os.fsencode(inside / f".s.PGSQL.{SOCKET_PORT}.lock")) <= SOCKET_PATH_BYTES_MAX:
        make_private(inside, user=user)
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    outside = Path(tempfile.gettempdir()) / f"budan-{user.uid}-{digest}"
    make_private(outside, user=user)
    refuse_barrier(outside, user=user)
    found = outside.lstat()
    # The place is shared: somebody else may have made the folder, or a link to one, in order to read along.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid or found.st_mode & 0o077:
        raise FolderUnusable(f"{outside} belongs to somebody else: remove it, or choose a shorter database folder")
    return outside


def _may_pass(folder: Path, *, user: ServerUser) -> bool:
    if user.uid == os.geteuid():
        return os.access(folder, os.X_OK)
    found = folder.stat()
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == user.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
