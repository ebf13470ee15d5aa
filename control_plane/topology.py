"""The picture of the cluster: where each box stands. Pure; the template draws it."""

import msgspec

from control_plane.queries import AgentLine, Overview

CELL, BOX_WIDTH, BOX_HEIGHT, GAP = 172, 152, 70, 34
"""Pixels: a column, a box, its height, the space between two rows."""
MARGIN = 14
COLUMNS = 2, 6
"""At least, so that few agents do not look lost; at most, so that they fit a screen."""


class Box(msgspec.Struct, frozen=True):
    """One box, its left upper corner in pixels: an agent, or a store by name."""

    x: float
    y: float
    line: AgentLine | None = None
    store: str = ""
    answers: bool = True

    @property
    def load(self) -> float:
        """From 0 to 1, how full the agent is."""
        return min(1.0, self.line.agent.current_load / (self.line.agent.max_load or 1)) if self.line else 0.0


class Drawing(msgspec.Struct, frozen=True):
    """The whole picture. `wires` is an SVG path."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    wires: str
    seat_is_empty: bool
    middle: float
    columns: int

    @property
    def described(self) -> str:
        """The picture in words."""
        agents = [box.line for box in self.boxes if box.line]
        leads = next((f"{line.agent.id} on top as primary" for line in agents if line.is_primary), "no primary")
        below = [f"{line.agent.id} {line.state}" for line in agents if not line.is_primary]
        stores = [f"{box.store} {'answers' if box.answers else 'does not answer'}" for box in self.boxes if box.store]
        return f"{leads}; below: {', '.join(below) or 'nobody'}; stores: {', '.join(stores)}."


def drawn(overview: Overview) -> Drawing:
    """Place the primary on top, the others in rows below, the stores at the bottom, and the wires between them."""
    others = [line for line in overview.agents if not line.is_primary]
    columns = max(COLUMNS[0], min(COLUMNS[1], len(others)))
    rows = [others[at : at + columns] for at in range(0, len(others), columns)]
    step = BOX_HEIGHT + GAP
    width, stores_y = MARGIN + columns * CELL, MARGIN / 2 + step * (len(rows) + 1)
    boxes = [Box(_x(width, 1, 0), MARGIN / 2, line) for line in overview.agents if line.is_primary]
    for number, row in enumerate(rows, 1):
        boxes += [Box(_x(width, len(row), at), MARGIN / 2 + step * number, line) for at, line in enumerate(row)]
    boxes += [
        Box(_x(width, 2, at), stores_y, store=store, answers=store not in overview.away)
        for at, store in enumerate(("Redis", "PostgreSQL"))
    ]
    middle = MARGIN + (width - MARGIN) / 2
    return Drawing(
        width, int(stores_y + BOX_HEIGHT * 0.6 + MARGIN), tuple(boxes), _wires(boxes, middle),
        seat_is_empty=not overview.primary_id, middle=middle, columns=columns,
    )  # fmt: skip


def _x(width: int, count: int, at: int) -> float:
    return MARGIN + (width - MARGIN - count * CELL) / 2 + at * CELL + (CELL - BOX_WIDTH) / 2


def _wires(boxes: list[Box], middle: float) -> str:
    """Return a rail above each row, a drop to each of its boxes, and the trunk on the left that joins the rails."""
    top = MARGIN / 2 + BOX_HEIGHT
    rails = sorted({box.y for box in boxes if box.y > top})
    trunk = min(box.x for box in boxes) - MARGIN / 2
    parts = [f"M{middle:g} {top:g}V{top + GAP / 2:g}"]
    for y in rails:
        drops = [box.x + BOX_WIDTH / 2 for box in boxes if box.y == y]
        ends = [*drops, middle] if y == rails[0] else drops
        left = min(ends) if len(rails) == 1 else trunk
        parts.append(f"M{left:g} {y - GAP / 2:g}H{max(ends):g}")
        parts += [f"M{x:g} {y - GAP / 2:g}V{y:g}" for x in drops]
    if len(rails) > 1:
        parts.append(f"M{trunk:g} {rails[0] - GAP / 2:g}V{rails[-1] - GAP / 2:g}")
    return "".join(parts)
