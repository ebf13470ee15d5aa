"""What an agent can do beside talking."""
