"""A runner never outlives its keeper (PROTOCOLS 6.1): the kernel sees to it, whatever the runner is doing."""

import os
import signal
import subprocess
import sys

from tests.waiting import wait_until

RUNNER = (
    "from agent_image.runner.__main__ import die_with_the_keeper\n"
    "import os, time\n"
    "die_with_the_keeper()\n"
    "print(os.getpid(), flush=True)\n"
    "time.sleep(60)\n"
)
KEEPER = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-P', '-c', {RUNNER!r}]); time.sleep(60)"


async def test_the_kernel_kills_a_runner_whose_keeper_was_killed() -> None:
    keeper = subprocess.Popen([sys.executable, "-P", "-c", KEEPER], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    runner = int(keeper.stdout.readline())
    try:
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        await wait_until(lambda: _gone(runner), within_s=5, of="the end of the runner")
    finally:
        if not await _gone(runner):
            os.kill(runner, signal.SIGKILL)
        keeper.stdout.close()


async def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rpartition(")")[2].split()[0] == "Z"
