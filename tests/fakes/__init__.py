"""Stand-ins for the outside world: real servers over real HTTP with scripted behaviour."""
