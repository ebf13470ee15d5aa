"""Running turns: intake of work, one turn, what it publishes, and the announcer of what went unsaid."""
