"""Every foreseeable failure as one sentence with the way out."""

import errno
import xmlrpc.client

import httpx2

from appliance.core.errors import ModelError, NexusError, StoreAway

LOOK_CLOSER = "`make doctor` says why"


def sentence_of(error: Exception) -> str | None:
    """Return what to tell a person; None for what nobody foresaw, whose traceback is worth seeing. Pure."""
    match error:
        case StoreAway() | ModelError() if "make " not in error.detail:
            return f"{error.detail.rstrip('.')}: {LOOK_CLOSER}."
        case NexusError():
            return error.detail
        case xmlrpc.client.Error():
            return f"The process manager refused ({error}): `make down`, then `make up`."
        case httpx2.HTTPError():
            return f"The gateway does not answer ({type(error).__name__}): {LOOK_CLOSER}."
        case OSError():
            return _of_the_system(error)
    return None


def _of_the_system(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "The disk is full: free some space and type the same again."
    if isinstance(error, PermissionError):
        return f"{error.filename or 'A file of this home'} is not yours: be its owner, or choose another --home."
    what = f"{error.filename}: " if error.filename else ""
    return f"{what}{error.strerror or error}: {LOOK_CLOSER}."
