"""Becomes another program that dies with the one who started it; runs as a script, so it imports nothing of ours."""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Drop to `uid:gid`, ask the kernel for `signal` at the parent's death, and become `argv`.

    Arguments: parent's pid, signal number, uid:gid (or - to stay who we are), then the program and its arguments.
    The order matters: the kernel forgets the request when the user changes, and keeps it when the program does.
    """
    parent_pid, death_signal, user, *argv = arguments
    if user != "-":
        uid, gid = (int(part) for part in user.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before we asked; then nobody would ever tell us.
    if os.getppid() != int(parent_pid):
        sys.exit(1)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1:])
