"""Distributed tasks in a runner: telling of them, taking them, running them, waiting for them (PROTOCOLS 7)."""
