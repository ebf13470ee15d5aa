"""The list of guards does not rot: each still stands where the list says, and the test named for it exists."""

import re

import pytest

from tests.mutations.guard import ROOT, Guard
from tests.mutations.guards import GUARDS


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_guard_can_be_taken_out_and_names_a_test_that_exists(guard: Guard) -> None:
    source = (ROOT / guard.file).read_text()
    assert guard.taken_out(source) != source
    name = guard.test.partition("::")[2].partition("[")[0]
    assert re.search(rf"^(async )?def {name}\(", (ROOT / guard.test_file).read_text(), re.MULTILINE)


def test_each_guard_has_a_name_of_its_own() -> None:
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
