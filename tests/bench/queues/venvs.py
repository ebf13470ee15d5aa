"""A virtualenv for each peer, made once from its pins, in `build/bench-peers/`."""

import asyncio
import hashlib
import shutil
import sys
from pathlib import Path

from tests.cluster import ROOT

PINS = Path(__file__).parent / "requirements"
CACHE = ROOT / "build" / "bench-peers"


async def python_of(peer: str) -> str:
    """Return the python of a peer's virtualenv; it is made anew when its pins have changed.

    Raises:
        RuntimeError: it could not be made; says why.
    """
    pins, place = PINS / f"{peer}.txt", CACHE / peer
    digest, mark = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest(), place / "made-from"
    python = str(place / "bin" / "python")
    if not mark.exists() or mark.read_text() != digest:
        shutil.rmtree(place, ignore_errors=True)
        await _run(sys.executable, "-m", "venv", str(place))
        await _run(python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins))
        mark.write_text(digest)
    return python


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} failed: {said.decode()[-300:]}")
