"""Serves the bundled model: `python -m appliance.embedded.model_server PORT [ADDRESS]`, until SIGTERM."""

import os
import signal
import sys

import xllamacpp

from appliance.embedded.places import model_file

NAME = "bundled"
SLOTS = 4
"""Answers written at the same time; more requests wait in the server's queue."""
CONTEXT_TOKENS = 2048
"""Of each slot; what the model was trained for."""
PROMPT_CACHE_MIB = 128
MOST_THREADS = 8
"""A model this small gains nothing from more."""


def parameters(port: int, address: str = "127.0.0.1") -> xllamacpp.CommonParams:
    """What the server is told: one address, no web page of its own, one processor left to the agents.

    llama.cpp's threads wait for each other at every layer, so one that must share its processor holds up all. Single
    runs on two shared processors: busy, one answer, 7 to 31 tokens a second with two threads and 34 to 47 with one;
    four answers at once, otherwise idle, 95 with two and 60 with one. Steady was preferred to fast.
    """
    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(model_file())
    chosen.model_alias = {NAME}
    chosen.hostnames, chosen.port = [address], port
    chosen.n_parallel, chosen.n_ctx = SLOTS, SLOTS * CONTEXT_TOKENS
    chosen.cpuparams.n_threads = max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) - 1))
    chosen.cache_ram_mib = PROMPT_CACHE_MIB
    chosen.ui = False
    return chosen


def main() -> None:
    """Serve until told to stop. The library's threads hold nothing worth an orderly end."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    server = xllamacpp.Server(parameters(int(sys.argv[1]), *sys.argv[2:]))
    print(f"serving {NAME} at {server.listening_address}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
