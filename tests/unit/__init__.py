"""Pure tests: no store, no process."""
