"""All tests in two processes side by side: most of a run is waiting, in each of them (`make test`).

What needs Docker runs in one of them, after the tests that build its images; what that one says is shown at the end.
"""

import shutil
import signal
import subprocess
import sys
import tempfile

LANES = ("tests/integration", "not docker"), ("tests", "docker or not integration")
"""Folder and markers."""


def _command(folder: str, markers: str) -> list[str]:
    able = "" if shutil.which("chromium") else " and not e2e"
    return [sys.executable, "-P", "-m", "pytest", folder, "-m", f"({markers}){able}"]


def main() -> int:
    """Run both; return 0 when both went well."""
    with tempfile.TemporaryFile() as said:
        first = subprocess.Popen(_command(*LANES[0]))
        other = subprocess.Popen(_command(*LANES[1]), stdout=said, stderr=subprocess.STDOUT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # both hear of it as well, and tidy up
        codes = first.wait(), other.wait()
        said.seek(0)
        shutil.copyfileobj(said, sys.stdout.buffer)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
