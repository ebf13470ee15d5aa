"""One of the processes that share a plain TTL lock, the way most services elect a leader: no votes, no fence.

    python -m tests.bench.ttl_lock PORT

The lock's value is the holder's pid. It lives 5 s, is renewed every 1.67 s and asked for by the others every 0.1 s.
"""

import os
import sys
import time

import redis

LOCK = "lock"
LIFE_MS = 5000
RENEWAL_S = LIFE_MS / 3000
POLL_S = 0.1
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"


def main() -> None:
    """Take the lock whenever it is free and hold it for as long as it is this process's own."""
    me = str(os.getpid())
    client = redis.Redis(port=int(sys.argv[1]), client_name=me)
    while True:
        if client.set(LOCK, me, nx=True, px=LIFE_MS):
            hold(client, me)
        time.sleep(POLL_S)


def hold(client: redis.Redis, me: str) -> None:
    """Renew the lock until somebody else has it."""
    while client.eval(_RENEW, 1, LOCK, me, LIFE_MS):
        time.sleep(RENEWAL_S)


if __name__ == "__main__":
    main()
