"""Renders the one nginx template and its upstream lists into the folder nginx runs in."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "nginx"
NOBODY = "server 127.0.0.1:9 down;\n"
"""nginx refuses an empty upstream; the discard port, marked down, is never tried."""

Address = tuple[str, int]


def render(folder: Path, *, listen: str, user: str = "", counted: str = "/dev/null") -> None:
    """Make `folder` ready for `nginx -p folder -c nginx.conf`; upstream lists that exist are kept.

    `counted` is where nginx sends a line for each request.
    """
    values = {
        "LISTEN": listen,
        "USER": f"user {user};" if user else "",
        "WORKERS": "auto",
        "COUNTED": counted,
        "RESOLVER": resolver(Path("/etc/resolv.conf")),
    }
    template = (SOURCES / "nginx.conf.template").read_text()
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES / "pages", folder / "pages", dirs_exist_ok=True)
    replace(folder / "nginx.conf", re.sub(r"\$\{([A-Z]+)\}", lambda name: values[name[1]], template))
    for upstream in ("agents.conf", "control.conf"):
        if not (folder / upstream).exists():
            replace(folder / upstream, NOBODY)


def upstream_list(servers: Iterable[Address]) -> str:
    """The lines of an upstream: a server that fails once is left alone for two seconds."""
    lines = [f"server {host}:{port} max_fails=1 fail_timeout=2s;\n" for host, port in sorted(set(servers))]
    return "".join(lines) or NOBODY


def resolver(file: Path) -> str:
    """The line with which nginx looks names up again and again; only in containers are there names among upstreams."""
    found = re.search(r"^nameserver ([\d.]+)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return f"resolver {found[1]} valid=2s ipv6=off;" if found else ""


def named_upstream(host: str, port: int) -> str:
    """The line of an upstream that is one server; one given by name may change its address while nginx runs."""
    look_up = " resolve" if re.search("[a-z]", host) else ""
    return f"server {host}:{port} max_fails=1 fail_timeout=2s{look_up};\n"


def replace(path: Path, text: str) -> bool:
    """Write `text` in one step; False if the file says so already."""
    if path.exists() and path.read_text() == text:
        return False
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)
    return True
