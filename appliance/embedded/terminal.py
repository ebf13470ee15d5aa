"""Shell commands are switched on only where each can be isolated; that is tried by the program that will do it."""

import subprocess
import sys

from appliance.core.errors import SettingsError
from appliance.embedded.fleet import PYTHON

TRIAL = ("-m", "agent_image.runner.tools.terminal")
"""Says why not, and nothing where it works: programs meet by what they say, not by import."""
_PATIENCE_S = 60.0


def refuse_open_box() -> None:
    """Try whether an agent on this machine can isolate a command.

    Raises:
        SettingsError: it cannot; with what mends that.
    """
    command = [sys.executable, *TRIAL]
    done = subprocess.run(command, env=PYTHON, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    refuse(done.stdout or (done.stderr[-300:] if done.returncode else ""))


def refuse(why: str) -> None:
    """Raise SettingsError when a trial gave a reason."""
    if why.strip():
        raise SettingsError(f"CLUSTER_TERMINAL: {why.strip()}")
