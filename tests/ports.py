"""Ports for the tests' programs: below those the kernel gives to connections, and none is given twice.

Between being told a port and listening on it a program takes seconds; who asks the kernel meanwhile may get it as well.
"""

import itertools
import random

from appliance.embedded.config import is_free

FIRST, COUNT = 20_000, 12_000
_numbers = itertools.count(random.randrange(COUNT))


def free_port() -> int:
    """Return a loopback port that nobody uses and this process was not given before."""
    return next(port for port in (FIRST + number % COUNT for number in _numbers) if is_free(port))
