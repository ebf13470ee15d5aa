"""Keeps log files small: an event listener of the process manager, asked once a minute and gone when it goes."""

import shutil
import sys
from pathlib import Path

LIMIT_BYTES = 10 * 1024 * 1024
KEPT = 3


def rotate(log: Path) -> None:
    """Move what a log holds aside once it is large. Writers append, so they go on at the new end."""
    if log.stat().st_size < LIMIT_BYTES:
        return
    for number in range(KEPT - 1, 0, -1):
        if (older := Path(f"{log}.{number}")).exists():
            older.rename(f"{log}.{number + 1}")
    shutil.copy2(log, f"{log}.1")
    with log.open("r+") as file:
        file.truncate(0)


def main() -> None:
    """Speak the listener's protocol: READY, an event, RESULT."""
    while True:
        sys.stdout.write("READY\n")
        sys.stdout.flush()
        header = sys.stdin.readline()
        if not header:
            return
        sys.stdin.read(int(dict(part.split(":", 1) for part in header.split())["len"]))
        for log in Path(sys.argv[1]).glob("*.log"):
            rotate(log)
        sys.stdout.write("RESULT 2\nOK")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
