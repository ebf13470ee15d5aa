"""`python -m control_plane` serves the control plane."""

from control_plane.app import main

main()
