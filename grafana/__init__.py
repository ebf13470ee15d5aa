"""Grafana's dashboards: written by `python -m grafana`, provisioned as JSON."""
