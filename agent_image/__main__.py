"""`python -m agent_image` starts one agent: this process becomes its keeper."""

from agent_image.keeper.main import main

main()
