"""One shell command, run as nobody, with nothing in reach but Debian's programs and a folder that goes away with it."""

from agent_image.runner.tools.terminal.box import Limits
from agent_image.runner.tools.terminal.running import Ran, run
from agent_image.runner.tools.terminal.trial import why_not

__all__ = ["Limits", "Ran", "run", "why_not"]
