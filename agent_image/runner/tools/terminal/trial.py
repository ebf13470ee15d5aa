"""Whether this machine can isolate a command: the box is made and looked at from inside, not guessed."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from agent_image.runner.tools.terminal import filter as denied
from agent_image.runner.tools.terminal.box import INSIDE_ID, OUTSIDE_ID, PATH, Limits
from agent_image.runner.tools.terminal.running import run
from appliance.core import logs
from appliance.core.errors import NotIsolated

log = logs.get("runner")
_PROGRAMS = {
    "setpriv": "util-linux",
    "choom": "util-linux",
    "prlimit": "util-linux",
    "timeout": "coreutils",
    "nice": "coreutils",
    "bash": "bash",
    "bwrap": "bubblewrap",
}
"""What the box is made of, and Debian's packages."""
_SWITCHES = {
    "kernel/unprivileged_userns_clone": ("0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    "user/max_user_namespaces": ("0", "sudo sysctl user.max_user_namespaces=10000"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give bwrap a profile of AppArmor",
    ),
}
"""Of /proc/sys: with which value it forbids namespaces, and what mends that."""
_LOOK = f"""
s=$(cat /proc/self/status)
for line in 'NoNewPrivs:.1' 'Seccomp:.2' 'CapBnd:.0*' 'Uid:.{INSIDE_ID}.*'; do
  grep -qx "$line" <<<"$s" || {{ echo "$line is not so"; exit 1; }}
done
true & wait $! || exit 1
"""
_OF_CONTAINERS = ("/.dockerenv", "/run/.containerenv")
"""Files that Docker and Podman put into their containers."""
_PATIENCE_S = 10.0
_TRIES: tuple[Callable[[], str | None], ...]


def is_offered(wished: bool) -> bool:
    """Whether this runner has the tool; logs why not where it was wished for. An agent serves all the same."""
    why = why_not() if wished else None
    if why:
        log.warning("terminal_absent", why=why)
    return wished and why is None


def why_not() -> str | None:
    """Return why no command can be isolated here, with what mends it; None where it was tried and works.

    Takes some 50 ms and must not be called inside a running event loop.
    """
    return next((why for tried in _TRIES if (why := tried())), None)


def forbidden() -> str | None:
    """Try the namespaces alone, as the user that commands have: containers and kernel settings forbid them."""
    user = [f"--reuid={OUTSIDE_ID}", f"--regid={OUTSIDE_ID}", "--clear-groups"] if os.geteuid() == 0 else []
    space = ["unshare", "--user", "--map-current-user", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]
    try:
        done = subprocess.run(
            ["setpriv", *user, "--", *space], env={"PATH": PATH}, capture_output=True, text=True, check=False,
            timeout=_PATIENCE_S,
        )  # fmt: skip
    except FileNotFoundError:
        return missing()
    except subprocess.TimeoutExpired:
        return f"Trying a namespace took longer than {_PATIENCE_S:g} s. {_OFF}"
    return None if done.returncode == 0 else f"{_remedy()} ({done.stderr.strip()[-200:]})"


_OFF = "Without commands: `CLUSTER_TERMINAL= make up`."


def _remedy() -> str:
    for name, (value, mends) in _SWITCHES.items():
        file = Path("/proc/sys") / name
        if file.exists() and file.read_text().strip() == value:
            return f"This machine's kernel forbids namespaces to ordinary users: {mends}. {_OFF}"
    if any(map(os.path.exists, _OF_CONTAINERS)):
        return (
            "A container without privileges may not make namespaces of its own, so a command cannot be isolated in it: "
            f"use the runtime embedded (`make up ARGS='--runtime embedded'` in a home of its own). {_OFF}"
        )
    return f"This machine does not allow namespaces: ask whoever runs it to. {_OFF}"


def missing() -> str | None:
    """Return which packages of Debian are not there."""
    absent = sorted({package for program, package in _PROGRAMS.items() if not shutil.which(program, path=PATH)})
    try:
        denied.program()
    except OSError:
        absent.append("libseccomp2")
    return f"Missing here: sudo apt-get install -y {' '.join(absent)}. {_OFF}" if absent else None


def _fails() -> str | None:
    """Make the whole box and look from inside whether it is closed."""
    try:
        ran = asyncio.run(run(_LOOK, Limits(seconds=_PATIENCE_S)))
    except NotIsolated as error:
        return f"The box cannot be made here: {error}. It needs bubblewrap 0.8 or newer and Linux 5.14 or newer. {_OFF}"
    return None if ran.exit_code == 0 else f"The box does not close here: {ran.output.strip()[-300:]}. {_OFF}"


_TRIES = (forbidden, missing, _fails)
