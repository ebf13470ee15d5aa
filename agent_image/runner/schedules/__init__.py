"""Reminders and jobs: what people may wish, when an instant comes, what the primary fires (DESIGN 7)."""
