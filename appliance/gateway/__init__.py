"""The gateway: nginx, and a small reloader that tells it which agents there are."""
