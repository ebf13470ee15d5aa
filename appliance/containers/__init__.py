"""The runtime with Docker: the same programs as `appliance.embedded`, as containers of one Compose project."""
