"""Tests of Nexus: real stores, real processes; fakes only for model providers."""
