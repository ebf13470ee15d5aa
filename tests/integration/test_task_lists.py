"""Lists of tasks and what is done to them, on a real PostgreSQL: pages, numbers, acts that count once."""
