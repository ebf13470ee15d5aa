"""The queues that tests/bench/tasks.py compares: a module for each peer, and what they are started and asked with.

A module `peer_NAME.py` runs with the python of that peer's own virtualenv, as worker and as client: it may import its
library and the standard library only. Each has its own pins in `requirements/NAME.txt`, since they want different
versions of redis-py.
"""
