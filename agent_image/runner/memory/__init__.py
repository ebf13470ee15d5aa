"""Memories of people in a runner: kept, extracted from conversations, promoted from idle ones (DESIGN 10)."""
