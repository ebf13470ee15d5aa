"""`python3 -m appliance COMMAND`: works with a bare system Python, and says so when it is too old.

Written so that any Python 3 can read it: everything newer is imported after the version was looked at.
"""

import os
import shutil
import sys

SUPPORTED = ((3, 11), (3, 12), (3, 13))


def main() -> int:
    """Hand over to the bootstrap, in a Python that can run it if there is one."""
    if sys.version_info[:2] not in SUPPORTED:
        for version in SUPPORTED:
            other = shutil.which(f"python{version[0]}.{version[1]}")
            if other:
                os.execv(other, [other, "-m", "appliance", *sys.argv[1:]])  # noqa: S606
        print(f"Nexus needs Python 3.11, 3.12 or 3.13; this is {sys.version_info[0]}.{sys.version_info[1]}.")
        return 1
    from appliance.embedded.bootstrap.main import main as bootstrap

    return bootstrap(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
