"""What runs before anything is installed: looking at the machine, then installing. Standard library only."""
