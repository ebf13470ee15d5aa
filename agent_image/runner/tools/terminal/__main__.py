"""`python -m agent_image.runner.tools.terminal`: can commands be isolated here? Says why not, with exit code 1."""

import sys

from agent_image.runner.tools.terminal.trial import why_not

if __name__ == "__main__":
    sys.exit(why_not())
