"""What `tests.bench.vector` measures: a corpus, and sides that search it."""
