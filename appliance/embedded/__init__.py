"""The runtime without Docker: real servers out of wheels, as supervised child processes on loopback."""
