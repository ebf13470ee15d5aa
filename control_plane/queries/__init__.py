"""Every read the pages and the API need; page and JSON are faces of the same records."""

from control_plane.queries.cluster import AgentLine, Overview, Queries, Work, state_of

__all__ = ["AgentLine", "Overview", "Queries", "Work", "state_of"]
