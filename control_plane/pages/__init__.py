"""The pages of the control plane: ask, show; one module each."""

from control_plane.pages import agent, agents, audit, cluster, failovers, game_day, stores

PAGES = [
    handler
    for room in (cluster, agents, agent, failovers, stores, audit, game_day)
    for handler in room.HANDLERS
]  # fmt: skip
