"""Explore further than the tests have time for: `python -m tests.explorer [--depth N] [--faults N] [--only WORD]`."""

import argparse
import sys

from tests.explorer.search import Walk
from tests.explorer.starts import SITUATIONS, start


def main() -> None:
    """Print what each walk met; exit with 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=9, help="steps from each situation")
    parser.add_argument("--faults", type=int, default=1, help="faults beside the one a situation began with")
    parser.add_argument("--only", default="", help="situations whose name contains this")
    arguments = parser.parse_args()
    trouble = False
    for name in SITUATIONS:
        if arguments.only in name:
            found = Walk(start(name, arguments.faults)).explore(arguments.depth)
            print(f"{found.states:>9} states, {found.steps:>9} steps, depth {found.depth:>2}: {name}", flush=True)  # noqa: T201
            if found.trouble:
                print(found.trouble)  # noqa: T201
            trouble |= bool(found.trouble)
    sys.exit(trouble)


if __name__ == "__main__":
    main()
