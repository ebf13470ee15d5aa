"""An exhaustive explorer of the election: a model of stores and agents in plain Python, moved by the real `decide`.

`world` is the state, `stores` what PostgreSQL and Redis do with a step, `agents` what a keeper does, `moves` everything
that may happen next, `properties` what must hold, `search` the walk over all of it. Time is counted in beats of 0.5 s.
"""
