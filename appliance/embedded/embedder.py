"""The bundled embedding model behind a small OpenAI-compatible server."""

import sys

from appliance.embedded.places import CHECKOUT, Home
from appliance.embedded.programs import Program, answers

NAME = "embedder"


def embedder(home: Home, port: int) -> Program:
    """The embedding server. Its ending loses nothing, so it is ended quickly."""
    return Program(
        name=NAME,
        argv=(sys.executable, "-m", "appliance.embedded.embedder_server", str(port)),
        cwd=home.run,
        env={"PYTHONPATH": str(CHECKOUT)},
        check=answers(f"http://127.0.0.1:{port}/health"),
        stop_within_s=3,
    )


def embedder_url(port: int) -> str:
    """The address programs are given."""
    return f"http://127.0.0.1:{port}/v1"
