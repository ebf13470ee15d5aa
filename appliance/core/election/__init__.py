"""Who is primary (PROTOCOLS 6): `decide` is pure, `authority` carries out what it says in PostgreSQL and Redis."""

from appliance.core.election.authority import Election as Election
from appliance.core.election.authority import Epoch as Epoch
from appliance.core.election.authority import Standing as Standing
