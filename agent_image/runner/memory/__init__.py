"""What agents know of people beyond a conversation: recalled before a turn, stored by tools, commands and pages."""
