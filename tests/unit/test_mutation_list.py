"""The list of guards does not rot: each still stands where the list says, and the test named for it exists."""

import re
from pathlib import Path

import pytest

from tests.mutations.guard import ROOT, Guard
from tests.mutations.guards import GUARDS


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_guard_can_be_taken_out_and_names_a_test_that_exists(guard: Guard) -> None:
    source = (ROOT / guard.file).read_text()
    assert guard.taken_out(source) != source
    name = guard.test.partition("::")[2].partition("[")[0]
    assert re.search(rf"^(async )?def {name}\(", (ROOT / guard.test_file).read_text(), re.MULTILINE)


@pytest.mark.parametrize("guard", [it for it in GUARDS if "/migrations/" in it.file], ids=lambda guard: guard.name)
def test_a_guard_stands_in_the_function_that_is_in_force(guard: Guard) -> None:
    """A migration that makes a function anew takes its guards along: removing the old one hurts nobody."""
    source = (ROOT / guard.file).read_text()
    functions = re.findall(r"function (\w+)\(", source[: source.index(guard.text) + len(guard.text)])
    if not functions:
        return
    later = [it for it in sorted((ROOT / guard.file).parent.glob("*.sql")) if it.name > Path(guard.file).name]
    assert [it.name for it in later if f"function {functions[-1]}(" in it.read_text()] == []


def test_each_guard_has_a_name_of_its_own() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
