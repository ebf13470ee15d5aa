"""The health check of every container: `python3 -I -S healthy.py http PORT PATH` or `… redis PORT`.

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


def said(address: str, port: int, words: str) -> bytes:
    """Return the beginning of what is answered; empty when nobody listens."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.sendall(words.encode())
            return connection.recv(64)
    except OSError:
        return b""


def main(kind: str, port: int, path: str = "/") -> int:
    """Return 0 when one address answers as it should."""
    if kind == "redis":
        with open(_PASSWORD) as file:  # noqa: PTH123  # pathlib takes longer to import than the check takes
            words, wanted = f"AUTH metrics {file.read().strip()}\r\nPING\r\nQUIT\r\n", b"+OK\r\n+PONG"
    else:
        words, wanted = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n", b" 200 "
    return 0 if any(wanted in said(address, port, words) for address in own_addresses()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
