"""Runs one command in the box, keeps what it says, and ends all of it when a limit is reached or nobody waits."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from agent_image.runner.tools.terminal import filter as denied
from agent_image.runner.tools.terminal.box import BEGUN, PATH, Around, Limits, command_line
from appliance.core.clock import monotonic
from appliance.core.errors import BadInput, NotIsolated, TooLarge

DEFAULT = Limits()
MAX_COMMAND_BYTES = 100_000
"""The kernel takes 128 KiB for one argument."""
_LOOK_S = 0.1
"""How often the memory of a box is added up."""
_REAP_S = 0.002
_CHUNK = 64 * 1024
_ENDING: set[asyncio.Task[None]] = set()


class Ran(msgspec.Struct, frozen=True):
    """What became of a command."""

    exit_code: int | None
    """128 + n after signal n, as in a shell; None when the box was ended."""
    output: str
    """What it said, errors among it, as UTF-8; a last line in brackets says why it was ended."""
    truncated: bool
    """Whether it said more than it may."""
    timed_out: bool
    seconds: float


async def run(command: str, limits: Limits = DEFAULT) -> Ran:
    """Run one command of bash in a box of its own; nothing of it is left when this returns, nor when it is cancelled.

    Raises:
        BadInput: it cannot be a command. NotIsolated: the box could not be made, so nothing was run.
    """
    began = monotonic()
    box = _Box(_checked(command), limits)
    try:
        await box.follow()
    finally:
        await box.close()
    return box.ran(monotonic() - began)


def _checked(command: str) -> str:
    try:
        size = len(command.encode())
    except UnicodeEncodeError:
        raise BadInput("The command is not valid Unicode: leave out lone surrogates.") from None
    if "\0" in command:
        raise BadInput("A command cannot contain the character NUL: leave it out.")
    if size > MAX_COMMAND_BYTES:
        raise TooLarge(f"The command is longer than {MAX_COMMAND_BYTES} bytes: make it shorter.")
    return command


class _Box:
    """One box from its start to its end. `end` may be called at any time, and more than once."""

    def __init__(self, command: str, limits: Limits) -> None:
        self._limits = limits
        self._said = bytearray()
        self._report: dict[str, Any] = {}
        self._status, status = os.pipe()
        try:
            self._process = _spawn(command, limits, status)
        except OSError as error:
            os.close(self._status)
            raise NotIsolated(why=str(error)) from None
        finally:
            os.close(status)
        self._told = ""
        """What the box itself had to say."""
        self._word = self._process.stdin
        self._init = 0
        """The first process of the box's namespace, as this machine counts; 0 until it is known."""
        self._transports: list[asyncio.ReadTransport] = []
        self._too_long = f"it took more than {limits.seconds:g} s"
        self._why_ended = ""
        self._over = asyncio.create_task(self._until_over())

    async def follow(self) -> None:
        """Return when nothing in the box lives any more, ending it where it goes beyond a limit."""
        alarm = asyncio.get_running_loop().call_later(self._limits.seconds, self.end, self._too_long)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_output())
                group.create_task(self._watch_memory())
        finally:
            alarm.cancel()

    async def _until_over(self) -> None:
        """Give the word as soon as bwrap reports, and wait for our child, which ends after all of the namespace."""
        status = await self._reader(open(self._status, "rb", buffering=0))  # noqa: PTH123, SIM115, ASYNC230
        while line := await status.readline():
            self._report |= msgspec.json.decode(line)
            self._begin()
        while self._process.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(_REAP_S)

    def _begin(self) -> None:
        """Give the word; without it the command never begins, and the box ends by itself."""
        if self._init or self._word is None:
            return
        with contextlib.suppress(OSError, ValueError):  # it has ended already
            [self._init] = _children(self._process.pid, self._process.pid)
            self._word.write(b"!")
        self._say_nothing_more()

    def _say_nothing_more(self) -> None:
        if self._word is not None:
            self._word.close()
        self._word = None

    async def _reader(self, pipe: Any) -> asyncio.StreamReader:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        self._transports.append(transport)
        return reader

    async def _read_output(self) -> None:
        output = await self._reader(self._process.stdout)
        most = self._limits.output_bytes
        while chunk := await output.read(_CHUNK):
            self._said += chunk
            if len(self._said) > most:
                self.end(f"it said more than {most} bytes: write to a file and show a part of it")
                return

    async def _watch_memory(self) -> None:
        """Limits of the kernel count each process alone, so the sum is watched from outside."""
        most = self._limits.memory_bytes
        while not self._over.done():
            # In a thread: with 64 processes a look takes milliseconds.
            if self._init and await asyncio.to_thread(memory_of, self._init) > most:
                self.end(f"all together it used more than {most // 2**20} MiB of memory")
            await asyncio.wait({self._over}, timeout=_LOOK_S)

    def end(self, why: str) -> None:
        """Kill everything in the box."""
        self._say_nothing_more()
        if self._process.poll() is not None:
            return
        self._why_ended = self._why_ended or why
        if self._init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)  # our child, which lives, waits for it: the number is its own

    async def close(self) -> None:
        """End what still runs and return when it is gone; if whoever waits is cancelled again, it ends all the same."""
        ending = asyncio.create_task(self._close())
        _ENDING.add(ending)
        ending.add_done_callback(_ENDING.discard)
        await asyncio.shield(ending)

    async def _close(self) -> None:
        self.end("nobody waits for it any more")
        await asyncio.wait({self._over})
        for transport in self._transports:
            transport.close()
        if self._process.stderr:
            with self._process.stderr as told:  # whoever wrote there is gone
                self._told = told.read().decode(errors="replace")
        self._over.result()

    def ran(self, seconds: float) -> Ran:
        """Return what became of the command; NotIsolated when it never began."""
        most = self._limits.output_bytes
        words = self._said[:most].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        why = self._why_ended
        if not why and BEGUN not in self._told:
            raise NotIsolated(box=self._told[-300:].strip())
        if not why and "exit-code" not in self._report:
            late = seconds >= self._limits.seconds
            why = self._too_long if late else "somebody or the kernel killed it, perhaps for want of memory"
        return Ran(
            exit_code=None if why else self._report["exit-code"],
            output=f"{words}\n[ended: {why}]" if why else words,
            truncated=len(self._said) > most,
            timed_out=why == self._too_long,
            seconds=round(seconds, 3),
        )


def _spawn(command: str, limits: Limits, status: int) -> subprocess.Popen[bytes]:
    """Start the box. From this thread: it asks to die with the thread that started it.

    Not by way of the event loop: uvloop's children inherit every inheritable descriptor, such as the shared page's.
    """
    with open(os.memfd_create("filter"), "w+b", buffering=0) as rules:  # noqa: PTH123
        rules.write(denied.program())
        rules.seek(0)
        around = Around(os.getpid(), os.geteuid() == 0, rules.fileno(), status)
        return subprocess.Popen(
            command_line(command, limits, around), bufsize=0, cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            pass_fds=(rules.fileno(), status), env={"PATH": PATH}, start_new_session=True,
        )  # fmt: skip


def _children(process: int, thread: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{thread}/children").read_text().split()]


def memory_of(process: int) -> int:
    """Return the bytes of memory that a process and all its descendants hold, files they only read left out."""
    total, waiting = 0, [process]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):  # it has just ended
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "RssShmem")))
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += _children(pid, int(thread.name))
    return total
