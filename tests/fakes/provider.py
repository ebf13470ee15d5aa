"""Start the fake model server as a process of its own and talk to its control endpoints."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 10.0


class FakeProvider:
    """The fake model server as an async context manager.

        async with FakeProvider() as provider:
            settings = load(model_url=provider.url + "/v1")
            ...
            calls = await provider.calls()

    `stop` and `start` kill it and bring it back on the same port.
    """

    def __init__(self, model: str = "fake-model", *, host: str = "127.0.0.1") -> None:
        self.model = model
        self.host = host
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Address without `/v1`: as Ollama's and Anthropic's are written."""
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        """Start the server and wait until it listens."""
        with tempfile.TemporaryDirectory() as folder:
            port_file = Path(folder) / "port"
            where = ("--host", self.host, "--port", str(self.port), "--port-file", str(port_file))
            command = (sys.executable, "-m", "tests.fakes.models", *where, "--model", self.model, "--tied")
            self.process = await asyncio.create_subprocess_exec(
                *command,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            async with asyncio.timeout(START_WITHIN_S):
                while not port_file.exists():
                    if self.process.returncode is not None:
                        raise RuntimeError(f"the fake model server ended with {self.process.returncode}")
                    await asyncio.sleep(0.01)
            self.port = int(port_file.read_text())

    async def stop(self) -> None:
        """Kill the server: from now on its port refuses connections."""
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def calls(self, message: str | None = None) -> list[dict[str, Any]]:
        """Return the model calls it saw, those with this very message if one is given."""
        calls: list[dict[str, Any]] = (await self._ask("GET", "/calls")).json()
        return [call for call in calls if message is None or call["message"] == message]

    async def mode(self, directives: str) -> None:
        """Set directives for every call from now on, for example `status=500`; empty ends it."""
        await self._ask("PUT", "/mode", directives)

    async def reset(self) -> None:
        """Forget all calls and the mode."""
        await self._ask("POST", "/reset")

    async def _ask(self, method: str, path: str, body: str = "") -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, verify=False) as http:
            answer = await http.request(method, self.url + path, content=body)
            return answer.raise_for_status()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
