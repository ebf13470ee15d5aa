"""Tests on real stores and real agents."""
