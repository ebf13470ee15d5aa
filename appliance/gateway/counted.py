"""Counts what nginx did. It sends a datagram for each request (its syslog), so it never waits for whoever counts.

A line is `status seconds STATUSES;TIMES`, the last two one for each agent that was asked (`log_format counted` in
`nginx.conf.template`).
"""

import asyncio
import urllib.request
from pathlib import Path
from typing import NamedTuple

from appliance.core import logs, metrics

log = logs.get("gateway")
_MARK = b"nginx: "
_PROBE_S = 1.0
_OK_BELOW = 500
_ESTABLISHED = "01"
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Request(NamedTuple):
    """One request as nginx logged it."""

    status: str
    seconds: float
    """Until the answer began."""
    tries: tuple[str, ...]
    """What each agent that was asked answered; empty when nginx answered itself."""


def parse(line: bytes) -> Request | None:
    """Read one line; None for what is none."""
    try:
        fields, _, times = line.partition(_MARK)[2].decode().partition(";")
        status, seconds, *tries = _words(fields)
        asked = [float(it) for it in _words(times) if it != "-"]
        return Request(status, sum(asked) if asked else float(seconds), tuple(it for it in tries if it != "-"))
    except ValueError:
        return None


def _words(text: str) -> list[str]:
    """Split what nginx joined: `, ` between agents, ` : ` after an internal redirect."""
    return text.replace(",", " ").replace(" : ", " ").split()


class Counter(asyncio.DatagramProtocol):
    """Adds each line to the gateway's metrics."""

    def __init__(self) -> None:
        self._ok, self._error = metrics.GATEWAY_TRIES.labels("ok"), metrics.GATEWAY_TRIES.labels("error")

    def datagram_received(self, data: bytes, _sender: object) -> None:
        """Take one line."""
        if (request := parse(data)) is None:
            return
        metrics.GATEWAY_REQUESTS.labels(request.status).inc()
        metrics.GATEWAY_SECONDS.observe(request.seconds)
        failed = sum(int(status) >= _OK_BELOW for status in request.tries)
        self._error.inc(failed)
        self._ok.inc(len(request.tries) - failed)
        if len(request.tries) > 1:
            metrics.GATEWAY_RETRIES.inc()


async def count(gateway: str, *, serve_at: str) -> str:
    """Begin to count, serve the numbers at `serve_at` (`address:port`), and return where nginx is to send its lines.

    With nowhere to serve them nothing is counted.
    """
    if not serve_at:
        return "/dev/null"
    listen, _, port = gateway.rpartition(":")
    host = "127.0.0.1" if listen in ("", "*", "0.0.0.0") else listen  # noqa: S104 - compared, not bound
    metrics.GATEWAY_UP.set_function(lambda: _answers(f"http://{host}:{port}/_gateway/health"))
    metrics.GATEWAY_CONNECTIONS.set_function(lambda: _connections(int(port)))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Counter, local_addr=("127.0.0.1", 0))
    address, _, its_port = serve_at.rpartition(":")
    try:
        metrics.serve(address, int(its_port), metrics.GATEWAY)
    except OSError as error:  # people come first
        log.error("metrics_not_served", at=serve_at, error=str(error))
    return f"syslog:server=127.0.0.1:{transport.get_extra_info('sockname')[1]},nohostname,tag=nginx"


def _answers(url: str) -> bool:
    try:
        _NO_PROXY.open(url, timeout=_PROBE_S).close()
    except OSError:
        return False
    return True


def _connections(port: int) -> int:
    """Count the clients' connections; the kernel's word, since this nginx is built without a status page."""
    local = f":{port:04X}"
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    rows = (row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:])
    return sum(row[1].endswith(local) and row[3] == _ESTABLISHED for row in rows)
