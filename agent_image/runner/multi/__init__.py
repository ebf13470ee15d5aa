"""`/multi`: one question, several sub-agents, one answer (DESIGN 9)."""
