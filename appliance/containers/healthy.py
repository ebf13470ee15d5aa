"""The health check of every container: `python3 -I -S healthy.py http PORT PATH`, `… redis PORT`, `… socket FILE`.

It runs every few seconds in every container, so it imports next to nothing. A program may listen on one of its
addresses only; one that answers is enough.
"""

import fcntl
import socket
import struct
import sys

_SIOCGIFADDR = 0x8915
_PASSWORD = "/run/secrets/redis_metrics_password"  # noqa: S105  # a file's name


def own_addresses() -> list[str]:
    """Return the IPv4 addresses of this container."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    return found


def said(family: int, address: object, words: str) -> bytes:
    """Return the beginning of what is answered; empty when nobody listens."""
    try:
        with socket.socket(family) as connection:
            connection.settimeout(2)
            connection.connect(address)  # type: ignore[arg-type]  # a pair or a file, as the family wants
            connection.sendall(words.encode())
            return connection.recv(64)
    except OSError:
        return b""


def main(kind: str, where: str, path: str = "/") -> int:
    """Return 0 when one address answers as it should; any answer at all will do for a socket file."""
    if kind == "socket":
        return 0 if said(socket.AF_UNIX, where, "GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/") else 1
    if kind == "redis":
        with open(_PASSWORD) as file:  # noqa: PTH123  # pathlib takes longer to import than the check takes
            words, wanted = f"AUTH metrics {file.read().strip()}\r\nPING\r\nQUIT\r\n", b"+OK\r\n+PONG"
    else:
        words, wanted = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n", b" 200 "
    pairs = [(address, int(where)) for address in own_addresses()]
    return 0 if any(wanted in said(socket.AF_INET, pair, words) for pair in pairs) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
