"""`python -m agent_image.runner BOOT PAGE_DESCRIPTOR PORT`: started by the keeper only."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_the_keeper() -> None:
    """Ask the kernel to kill this process when its keeper ends, and end now if that has already happened."""
    keeper = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper or keeper == 1:
        sys.exit("the keeper is gone")


if __name__ == "__main__":
    die_with_the_keeper()  # before the imports below, which take their time
    from agent_image.runner.main import main

    main(boot=sys.argv[1], descriptor=int(sys.argv[2]), port=int(sys.argv[3]))
