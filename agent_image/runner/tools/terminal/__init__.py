"""One shell command, run as nobody, with nothing in reach but Debian's programs and a folder that goes away with it."""

from agent_image.runner.tools.terminal.box import Limits
from agent_image.runner.tools.terminal.running import Ran, run
from agent_image.runner.tools.terminal.trial import is_offered, why_not

__all__ = ["Limits", "Ran", "is_offered", "run", "why_not"]
