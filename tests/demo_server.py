"""Starts the demo as its own program, and notes every host that it speaks to or looks up: `demo_server.py LOG ...`.

Gradio fetches nothing from hosts that are not public: here all are, so that one on this machine can stand in for them.
A fit ends when it is stopped, however late that is on a busy machine.
"""

import functools
import sys

import safehttpx

from flowvocoder.cli.main import main

LOG = open(sys.argv[1], "a", buffering=1)  # noqa: PTH123, SIM115


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        print(arguments[1][0], file=LOG)
    elif event == "socket.getaddrinfo" and arguments[0]:
        print(arguments[0], file=LOG)


safehttpx.is_public_ip = lambda ip: True
sys.addaudithook(note)

from flowvocoder.demo import fitting  # noqa: E402  (what is imported is noted, too)

fitting.MOST_SECONDS = 3600.0
fitting.FlowDensity = functools.partial(fitting.FlowDensity, patience=1000)
sys.exit(main(["demo", *sys.argv[2:]]))
