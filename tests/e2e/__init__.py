"""Tests that drive a real browser against real agents."""
