"""What one entry of the list says."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Guard(NamedTuple):
    """One guard: taken out by replacing `text`, which stands in `file` exactly once, by `without`."""

    name: str
    file: str
    text: str
    without: str
    test: str
    """The test that fails then, as pytest names it."""

    @property
    def test_file(self) -> str:
        return self.test.split("::")[0]

    def taken_out(self, source: str) -> str:
        """Return the source without the guard; ValueError when it does not stand there exactly once."""
        if source.count(self.text) != 1:
            raise ValueError(f"{self.name}: its text stands {source.count(self.text)} times in {self.file}")
        return source.replace(self.text, self.without)
