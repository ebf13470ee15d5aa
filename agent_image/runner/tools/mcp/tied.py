"""`python tied.py PARENT PROGRAM ARGUMENT…`: become a program that the kernel kills when its parent ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Tie this process to its parent's life, then be the program."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the runner is gone")
    os.execvp(command[0], command)  # noqa: S606 - the command is the operator's own


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
