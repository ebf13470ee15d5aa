"""The one version of all programs of the appliance."""

VERSION = "0.1.0"
