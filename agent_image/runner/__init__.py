"""The runner: everything that does user work. One life of it is a boot; it dies with its keeper."""
