"""Random tokens and what is kept of them: a stolen dump of the database signs nobody in."""

import hashlib
import hmac
import secrets


def new_token() -> str:
    """Return 256 random bits that can stand in a URL."""
    return secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def form_token(secret: str, login: str) -> str:
    """Return the CSRF token that belongs to a login: only pages of that login know it."""
    return hmac.new(secret.encode(), b"form:" + digest_of(login), hashlib.sha256).hexdigest()
