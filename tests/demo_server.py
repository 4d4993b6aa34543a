"""Starts the demo as its own program, and notes every host that it speaks to or looks up: `demo_server.py LOG ...`.

Gradio fetches nothing from hosts that are not public: here all are, so that one on this machine can stand in for them.
A fit of as many steps as the page allows ends when it is stopped, on however fast or busy a machine. Networks are
small: a look costs seconds otherwise.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

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
from flowvocoder.density.training import FitState  # noqa: E402

ENDLESS, PATIENCE = 10**7, 10_000  # steps, and looks at them: hours
PAUSE = 2.0
"""Seconds after a look, which is a plot. A small fit gives twenty a second, and hundreds stop a page."""

FlowDensity = fitting.FlowDensity


class Endless(FlowDensity):
    def fit_steps(self, *given: Any, **named: Any) -> Iterator[FitState]:
        for state in super().fit_steps(*given, **named):
            yield state
            time.sleep(PAUSE)


def fitted(family: str, *, steps: int, **given: Any) -> FlowDensity:
    settings = {**given, "layers": 1, "hidden": 8, "batch": 64}
    if steps < fitting.MOST_STEPS:
        return FlowDensity(family, steps=steps, **settings)
    return Endless(family, steps=ENDLESS, patience=PATIENCE, **settings)


fitting.MOST_SECONDS, fitting.FlowDensity = 3600.0, fitted
sys.exit(main(["demo", *sys.argv[2:]]))
