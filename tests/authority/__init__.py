"""Authority and work as a state machine for Hypothesis (FAULTS, layer L2)."""
