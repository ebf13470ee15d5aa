"""Whether commands can be isolated here is tried, and where they cannot, that is said with what mends it."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent_image.runner.tools.terminal import box, is_offered, trial, why_not
from appliance.embedded.places import Home
from appliance.embedded.terminal import TRIAL
from tests.boxes import needs_boxes
from tests.namespaces import may_be_made

needs_root = pytest.mark.skipif(bool(why := may_be_made()), reason=why or "")
NO_MORE = "echo 0 > /proc/sys/user/max_user_namespaces; "


def told(*before: str, then: Sequence[str] = TRIAL) -> str:
    """Return what a new process says, started by a command that takes something from it."""
    done = subprocess.run([*before, sys.executable, *then], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@needs_boxes
async def test_where_it_works_nothing_is_said_and_the_tool_is_offered_to_who_wished_for_it() -> None:
    assert await asyncio.to_thread(told) == ""
    assert await asyncio.to_thread(is_offered, True)
    assert not is_offered(False)


@needs_root
def test_a_kernel_that_forbids_namespaces_is_named_with_its_switch() -> None:
    said = told("unshare", "--user", "--map-root-user", "sh", "-c", f'{NO_MORE} exec "$@"', "sh")
    assert said.startswith(
        "This machine's kernel forbids namespaces to ordinary users: sudo sysctl user.max_user_names"
    )
    assert "`CLUSTER_TERMINAL= make up`" in said


@needs_root
def test_root_that_may_not_become_another_user_is_refused() -> None:
    said = told("setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-setuid,-setgid", "--")
    assert "setresuid failed" in said or "setgroups failed" in said
    assert "CLUSTER_TERMINAL= make up" in said


@needs_boxes
def test_missing_programs_are_named_as_debian_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # whom commands run as must find them
        for program in ("setpriv", "unshare", "true", "timeout", "nice", "prlimit", "choom"):
            (Path(folder) / program).symlink_to(shutil.which(program) or "/missing")
        monkeypatch.setattr(trial, "PATH", folder)
        assert (why_not() or "").startswith("Missing here: sudo apt-get install -y bash bubblewrap.")


@needs_boxes
def test_a_box_that_does_not_close_is_noticed_from_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a bwrap of another kind ignores what it is told."""
    monkeypatch.setattr(box, "_namespaces", lambda: ["--unshare-all", "--cap-add", "CAP_SYS_PTRACE"])
    assert "The box does not close here: CapBnd:.0* is not so." in (why_not() or "")


@needs_boxes
def test_a_box_that_cannot_be_made_is_said_with_the_last_words_of_bwrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "_namespaces", lambda: ["--of-a-later-version"])
    said = why_not() or ""
    assert "bwrap: Unknown option --of-a-later-version" in said
    assert "bubblewrap 0.8 or newer" in said


@needs_root
def test_up_refuses_what_cannot_be_isolated_and_does_not_remember_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from appliance.embedded.lifecycle import Wishes, up;"
        "from appliance.embedded.places import Home; from appliance.core.errors import SettingsError\n"
        "try: up(Home(Path(sys.argv[1])), Wishes(), None)\n"
        "except SettingsError as error: print(error.detail)"
    )
    said = told(
        "unshare", "--user", "--map-root-user", "sh", "-c", f'{NO_MORE} CLUSTER_TERMINAL=on exec "$@"', "sh",
        then=("-c", script, str(tmp_path)),
    )  # fmt: skip
    assert said.startswith("CLUSTER_TERMINAL: This machine's kernel forbids namespaces")
    assert not Home(tmp_path).config.exists()
