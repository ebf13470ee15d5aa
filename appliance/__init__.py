"""The appliance: the shared core, the web base, the command line and the runtime without Docker."""
