"""The bundled language model behind llama.cpp's own OpenAI-compatible server."""

import sys

from appliance.embedded.places import CHECKOUT, Home
from appliance.embedded.programs import Program, answers


def model(home: Home, port: int) -> Program:
    """The model server. Its ending loses nothing, so it is ended quickly."""
    return Program(
        name="model",
        argv=(sys.executable, "-m", "appliance.embedded.model_server", str(port)),
        cwd=home.run,
        env={"PYTHONPATH": str(CHECKOUT)},
        check=answers(f"http://127.0.0.1:{port}/health"),
        stop_within_s=3,
    )


def model_url(port: int) -> str:
    """The address programs are given."""
    return f"http://127.0.0.1:{port}/v1"
