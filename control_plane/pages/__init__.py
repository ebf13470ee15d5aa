"""The pages of the control plane: ask, show; one module each."""

from control_plane.pages import (
    agent,
    agents,
    audit,
    cluster,
    conversations,
    dead,
    failovers,
    game_day,
    questions,
    stores,
    tasks,
)  # fmt: skip

PAGES = [
    handler
    for room in (cluster, agents, agent, tasks, dead, questions, conversations, failovers, stores, audit, game_day)
    for handler in room.HANDLERS
]  # fmt: skip
