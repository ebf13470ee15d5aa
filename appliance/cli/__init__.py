"""The command `nexus`: one file a command; it works while stores are down."""
