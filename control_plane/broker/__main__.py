"""`python -m control_plane.broker` serves the fleet to the control plane; `--help` lists what it wants."""

from control_plane.broker.main import main

main()
