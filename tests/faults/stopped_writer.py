"""A primary that is stopped between its fence and its commit (F4): `python -m tests.faults.stopped_writer EPOCH`.

It connects as every program does, says "ready", waits for a line, writes under the fence in an open transaction, says
"held" and stops itself. Once it may go on it tries to commit: exit code 0 = committed, 3 = it could not.
"""

import os
import signal
import sys

import psycopg

from appliance.core import settings
from appliance.core.postgres import connection_options
from tests.faults.fenced import WRITE

REFUSED = 3


def main(epoch: int) -> int:
    """Write and stop; return the exit code."""
    config = settings.load()
    options = connection_options(config, "stopped writer") | {"autocommit": False}
    with psycopg.connect(config.postgres_url, **options) as connection:
        print("ready", flush=True)  # noqa: T201
        sys.stdin.readline()
        assert connection.execute(WRITE, {"epoch": epoch, "held_s": 0}).rowcount == 1
        print("held", flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            connection.commit()
        except psycopg.Error:
            return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
