"""The keeper: beacon, lease, liveness, the runner's life. Few imports, no user work, never the runner's code."""
