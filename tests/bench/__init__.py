"""Benchmarks: ratios in one run against a peer or a raw limit, never timed unit tests.

Each runs as `python -m tests.bench.NAME [--quick] --json FILE`, prints a table and writes its figures.
"""
