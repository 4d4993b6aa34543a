"""Starts the demo as its own program, and notes every host that it speaks to or looks up: `demo_server.py LOG ...`."""

import sys

from flowvocoder.cli.main import main

LOG = open(sys.argv[1], "a", buffering=1)  # noqa: PTH123, SIM115


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        print(arguments[1][0], file=LOG)
    elif event == "socket.getaddrinfo" and arguments[0]:
        print(arguments[0], file=LOG)


sys.addaudithook(note)
sys.exit(main(["demo", *sys.argv[2:]]))
