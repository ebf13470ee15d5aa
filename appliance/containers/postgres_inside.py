"""PostgreSQL in its container: made once in the volume, then served to the data network; this process becomes it."""

import os
from pathlib import Path

from appliance.embedded.places import Home
from appliance.embedded.postgres import initialise, server_command

PORT = 5432
# `/data` is the volume and `/secrets` leads to Compose's secrets.
HERE = Home(Path("/"))
_RULES = Path("/tmp/pg_hba.conf")  # noqa: S108  # a tmpfs of this container alone


def main() -> None:
    """Make the database unless it is there, and become the server. Every client needs the password."""
    initialise(HERE)
    _RULES.write_text("host all all all scram-sha-256\n")
    command = server_command(HERE, PORT, "*", hba_file=str(_RULES))
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
