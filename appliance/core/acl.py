"""Who may do what in Redis: one user per role, everything forbidden that is not named here.

A function of the library runs with the rights of its caller, so the patterns of keys decide inside it too: `install`
called by a runner fails. In the rules `~` is read and write, `%R~` read, `&` a channel. FLUSHALL heeds no pattern, and
CONFIG, EVAL, KEYS, MONITOR and DEBUG go around all of them: no program has them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from appliance.core.keys import Keys

RedisUser = Literal["keeper", "runner", "control", "gateway", "operator", "metrics", "initialiser", "admin"]
"""`operator` is the command line; `admin` breaks the glass: it may do everything, and no program signs in as it."""
USERS: tuple[RedisUser, ...] = get_args(RedisUser)

# The library is data: a Redis that comes back empty has none, and the cluster must mend itself without a person or a
# job of the deployment. Keepers run no user's code; whoever else misses a function waits for one of them.
_LOADERS = ("keeper", "initialiser", "admin")

_SEE_REGISTRY = "fcall_ro time get exists pttl hget hmget hgetall smembers"
_SEE_SERVER = "info module|list"
_HINTS = "publish subscribe unsubscribe"
_KEEP = (
    "fcall function|load set del expire pexpire hset hincrby"
    " sadd srem srandmember zadd zcard zrem zscore zremrangebyscore"
)
_RUN = (
    "fcall expire hset hsetnx hget hdel xadd xrange xrevrange xread json.get json.set"
    " xgroup|create xgroup|delconsumer xinfo|consumers xpending xreadgroup xautoclaim xack xdel sadd srem"
    " hexists del incr ft.search ft.info ft.aliasupdate"
)
# Heeds no pattern of keys: who makes an index may read, and with DD delete, all that is in Redis. Never a runner.
_INDEX = "ft._list ft.create ft.dropindex"
_VECTORS = "mget set unlink"
# Without XINFO STREAM, which shows entries: what people and models say is nobody's metric.
_MEASURE = "info xlen xinfo|groups xinfo|consumers slowlog|get slowlog|len"


def may_load(user: str) -> bool:
    """Whether `user` may load the function library. One that is not ours (a Redis of the customer's own) may try."""
    return user in _LOADERS or user not in USERS


def rules(keys: Keys) -> dict[RedisUser, str]:
    """Return what each user may do with the keys under one prefix, as Redis' ACL writes it."""
    registry = (keys.generation, keys.epoch, keys.primary, keys.released, keys.agents, keys.agent("*"), keys.boot("*"))
    elections = (keys.suspects("*"), keys.votes("*"))
    conversations = (keys.events("*"), keys.attempts("*"), keys.session("*"), keys.wake("*"))
    tasks, vectors = (keys.tasks("*"),), (keys.embedding("*", "*"),)
    memories = (keys.memory_index("*"),)
    agent, health, abort, config, task = (
        keys.channel(topic) for topic in ("agent", "health", "abort", "config", "task")
    )
    return {
        "keeper": _allow(
            f"{_SEE_REGISTRY} {_SEE_SERVER} {_HINTS} {_KEEP} {_INDEX}",
            write=[*registry, *elections, *memories],
            channels=[agent, health, config],
        ),
        "runner": _allow(
            f"{_SEE_REGISTRY} {_HINTS} {_RUN} {_VECTORS}",
            write=[*conversations, *tasks, *vectors, *memories],
            read=registry,
            channels=[agent, abort, task],
        ),
        # The JSON module asks for the right to write what it reads; without a command that writes, it reads.
        "control": _allow(
            f"{_SEE_REGISTRY} info publish json.get ft.info",
            write=[keys.session("*"), keys.memory_alias],
            read=registry,
            channels=[config],
        ),
        "gateway": _allow(_SEE_REGISTRY, read=registry),
        "operator": _allow(
            f"{_SEE_REGISTRY} {_SEE_SERVER} publish acl|log slowlog|get slowlog|len fcall mget incr ft.info",
            write=[keys.memory_build, keys.memory_alias],
            read=registry,
            channels=[config],
        ),
        "metrics": _allow(_MEASURE, read=[f"{keys.prefix}*"]),
        "initialiser": _allow("fcall function|load get set", write=[keys.generation, keys.epoch]),
        "admin": "~* &* +@all",
    }


def acl_file(keys: Keys, passwords: Mapping[RedisUser, str]) -> str:
    """Return Redis' `aclfile` of these users. Passwords stand in it as hashes; nobody enters without one."""
    allowed = rules(keys)
    digests = {user: hashlib.sha256(password.encode()).hexdigest() for user, password in passwords.items()}
    users = [f"user {user} on #{digest} {allowed[user]}" for user, digest in digests.items()]
    # Nobody can sign in as `default`, yet it keeps its rights: Redis replays its append-only file as this user. Without
    # them every function's effect (a MULTI … EXEC in the file) is refused at the next start, and all data are gone.
    return "\n".join(["user default off ~* &* +@all", *users]) + "\n"


def _allow(commands: str, *, write: Iterable[str] = (), read: Iterable[str] = (), channels: Iterable[str] = ()) -> str:
    named = [f"+{command}" for command in f"auth hello ping client|setinfo {commands}".split()]
    keys = [*(f"~{name}" for name in write), *(f"%R~{name}" for name in read)]
    return " ".join(["resetkeys", *keys, "resetchannels", *(f"&{name}" for name in channels), "-@all", *named])
