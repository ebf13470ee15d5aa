"""The control plane: server-rendered pages and a JSON API over what the stores know of the cluster."""
