"""`python -m agent_image.runner.tools.terminal`: says why no command can be isolated here; nothing where one can."""

import sys

from agent_image.runner.tools.terminal.trial import why_not

if __name__ == "__main__":
    sys.stdout.write(why_not() or "")
