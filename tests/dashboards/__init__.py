"""What Grafana and Prometheus are given: that it is right by itself, and that a working cluster fills it."""
