"""Tests of the appliance, on real stores and real sockets."""
