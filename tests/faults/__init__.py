"""What is done to a running cluster, and what must hold all the same (PROTOCOLS 6)."""
