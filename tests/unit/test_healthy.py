"""The health check of containers, against real sockets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.containers import healthy


@contextmanager
def listener(path: Path, answer: bytes) -> Iterator[str]:
    """Listen at a socket file and say `answer` to who connects; nothing when it is empty."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        if answer:
            threading.Thread(target=serve, daemon=True).start()
        yield str(path)


def test_a_broker_that_answers_anything_is_healthy(tmp_path: Path) -> None:
    with listener(tmp_path / "s", b"HTTP/1.1 404 Not Found\r\n\r\n") as path:
        assert healthy.main("socket", path) == 0


def test_a_broker_that_hangs_is_not_healthy_although_its_socket_is_there(tmp_path: Path) -> None:
    with listener(tmp_path / "s", b"") as path:
        assert healthy.main("socket", path) == 1
    assert healthy.main("socket", str(tmp_path / "nothing")) == 1
