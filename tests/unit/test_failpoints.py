"""Failpoints hurt only where a test asked for it, and what a test asks for exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.core import failpoints

ROOT = Path(__file__).parents[2]
REACH = "from appliance.core.failpoints import reach; reach('before_cas'); print('alive')"


def reached(armed: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "NEXUS_FAILPOINTS": armed}
    return subprocess.run([sys.executable, "-c", REACH], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("armed", "code", "said"),
    [("", 0, "alive"), ("after_cas:kill", 0, "alive"), ("before_cas:kill", -9, ""), ("before_cas:raise", 1, "")],
)
def test_a_process_is_hurt_where_its_environment_says_and_nowhere_else(armed: str, code: int, said: str) -> None:
    done = reached(armed)
    assert (done.returncode, done.stdout.strip()) == (code, said), done.stderr


@pytest.mark.parametrize("armed", ["elsewhere:kill", "before_cas:hurt", "before_cas:"])
def test_a_misspelt_failpoint_ends_the_process_at_its_start(armed: str) -> None:
    assert "is not a place and an action" in reached(armed).stderr


def test_every_place_is_in_the_code_once_and_every_place_in_the_code_is_known() -> None:
    sources = [path.read_text() for path in (ROOT / "agent_image").rglob("*.py")]
    assert sorted(re.findall(r'failpoints\.reach\("(\w+)"\)', "".join(sources))) == sorted(failpoints.PLACES)
