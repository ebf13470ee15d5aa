"""One agent: a keeper that stays alive, votes and fences, and a runner that does all user work (PROTOCOLS 6.1)."""
