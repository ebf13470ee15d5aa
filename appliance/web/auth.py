"""Who is asking: logins are rows, passwords argon2id, links work once."""

import asyncio
import time

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from appliance.core.errors import BadInput, Unauthenticated
from appliance.core.postgres import Postgres
from appliance.core.records import DEFAULT_TENANT, User
from appliance.web.throttle import Throttle
from appliance.web.tokens import digest_of, new_token

LINK_LIFE_S = 15 * 60
LOGIN_LIFE_S = 14 * 24 * 3600
MIN_PASSWORD = 12
MAX_PASSWORD = 1000
MAX_NAME = 200
_REMEMBER_S = 2.0
_REMEMBERED = 10_000
_HASHES_AT_ONCE = 2
"""Each takes 64 MB: strangers must not be able to fill the memory."""
_hasher = PasswordHasher()
_NOBODY = _hasher.hash("nobody has this password")


class Logins:
    """Sign in, stay signed in, sign out."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._known: dict[str, tuple[float, User]] = {}
        self._throttle = Throttle()
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    async def resolve(self, token: str) -> User | None:
        """Return who a login token belongs to; an ended login is noticed within two seconds.

        Raises:
            StoreAway: PostgreSQL does not answer, so nobody can be recognised.
        """
        known = self._known.get(token)
        if known and known[0] > time.monotonic():
            return known[1]
        row = await self._postgres.row("login", digest=digest_of(token))
        if row is None:
            self._known.pop(token, None)
            return None
        user = User(id=str(row["id"]), name=row["name"], role=row["role"], tenant_id=row["tenant_id"])
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[token] = (time.monotonic() + _REMEMBER_S, user)
        return user

    async def use_link(self, link: str) -> str:
        """Exchange a single-use link for a login; Unauthenticated when it was used or is too old."""
        user = await self._postgres.value("use_login_link", digest=digest_of(link))
        if user is None:
            raise Unauthenticated(
                "This sign-in link was used already or is older than 15 minutes. Get a new one: make link"
            )
        return await self._begin(str(user))

    async def sign_in(self, name: str, password: str) -> str:
        """Return a login token; Unauthenticated says neither which of the two was wrong nor whether the name exists."""
        name = name[:MAX_NAME]
        self._throttle.note(name)
        row = await self._postgres.row("user_by_name", tenant=DEFAULT_TENANT, name=name)
        stored = row["password_hash"] if row and row["password_hash"] else _NOBODY
        async with self._hashing:
            right = await asyncio.to_thread(_matches, stored, password[:MAX_PASSWORD])
        if row is None or not row["password_hash"] or not right:
            raise Unauthenticated("The name or the password is wrong.")
        self._throttle.forget(name)
        return await self._begin(str(row["id"]))

    async def _begin(self, user_id: str) -> str:
        await self._postgres.rows("forget_expired_logins")
        token = new_token()
        await self._postgres.rows("create_login", digest=digest_of(token), user=user_id, life_s=LOGIN_LIFE_S)
        return token

    async def sign_out(self, token: str) -> None:
        """End one login."""
        self._known.pop(token, None)
        await self._postgres.rows("end_login", digest=digest_of(token))

    async def sign_out_everywhere(self, user: User, *, keep: str = "") -> None:
        """End all logins of a person but `keep`; other agents notice within two seconds."""
        self._known = {token: known for token, known in self._known.items() if known[1].id != user.id}
        await self._postgres.rows("end_logins", user=user.id, keep=digest_of(keep))

    async def set_password(self, user: User, password: str, *, keep: str = "") -> None:
        """Set a password and end every login but `keep`; BadInput when it is too short."""
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise BadInput(f"A password needs {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
        async with self._hashing:
            hashed = await asyncio.to_thread(_hasher.hash, password)
        await self._postgres.rows("set_password", user=user.id, hash=hashed)
        await self.sign_out_everywhere(user, keep=keep)


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
