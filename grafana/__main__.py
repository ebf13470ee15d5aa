"""`python -m grafana` writes the dashboards' JSON anew."""

import json
from pathlib import Path

from grafana.boards import BOARDS
from grafana.panels import Json

FOLDER = Path(__file__).parent / "dashboards"


def text(board: Json) -> str:
    """The text of a dashboard's file."""
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    for name, board in BOARDS.items():
        (FOLDER / f"{name}.json").write_text(text(board))


if __name__ == "__main__":
    main()
