"""The whole appliance as `nexus` brings it up: the runtime without Docker, the bundled model."""
