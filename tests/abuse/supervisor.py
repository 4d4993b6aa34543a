"""The process that hands out inputs, and ends a worker that takes too long."""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.abuse.case import FAMILIES, GB

PATIENCE = 20.0
"""Seconds of processor time that an input may take."""

FOR_WAITING = 60.0
"""Seconds that it may wait for something other than a processor, which a busy machine may keep from it for long."""


@dataclasses.dataclass
class Row:
    """What came of a family's inputs."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    faults: int = 0
    slowest: float = 0.0  # seconds of processor time
    memory: int = 0  # bytes

    def add(self, result: dict[str, Any]) -> None:
        """Count an input."""
        self.inputs += 1
        self.faults += bool(result["faults"])
        self.refused += result["code"] not in (0, None) and not result["faults"]
        self.accepted += result["code"] == 0 and not result["faults"]
        self.slowest, self.memory = max(self.slowest, result["seconds"]), max(self.memory, result["memory"])


class Worker:
    """A process that runs inputs; a new one takes its place when it dies or hangs."""

    def __init__(self, home: Path, seed: int):
        self.home, self.seed = home, seed

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.join()

    def run(self, name: str, number: int) -> dict[str, Any]:
        """What came of an input, with its faults."""
        self.connection.send((name, number))
        began, _ = self._used()
        before, moved = began, time.monotonic()
        try:
            while not self.connection.poll(0.5):
                now, runnable = self._used()
                if now > before or runnable:
                    before, moved = now, time.monotonic()
                if now - began > PATIENCE or time.monotonic() - moved > FOR_WAITING:
                    return self._lost(f"hang after {now - began:.0f} s")
            return self.connection.recv()
        except EOFError:
            self.process.join()
            return self._lost(f"died: exit code {self.process.exitcode}")

    def _lost(self, fault: str) -> dict[str, Any]:
        self.__exit__()
        log = (self.box / "log").read_text(errors="replace")[-3000:]
        self._start()
        return {
            "code": None,
            "seconds": PATIENCE,
            "memory": 0,
            "faults": [fault],
            "command": [],
            "said": log,
            "trace": "",
        }

    def _start(self) -> None:
        from tests.abuse.worker import serve

        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.box = Path(tempfile.mkdtemp(dir=self.home))
        self.process = context.Process(target=serve, args=(theirs, self.box, self.seed))
        self.process.start()
        theirs.close()
        self.connection.recv()

    def _used(self) -> tuple[float, bool]:
        """Seconds of processor time so far, and whether it would go on if it got a processor."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0, False
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] == "R"


def plan(inputs: int, only: str = "") -> Iterator[tuple[str, int]]:
    """(family, number) of every input, families mixed. `only`: families, or `family:number`."""
    name, _, number = only.partition(":")
    if number:
        yield name, int(number)
        return
    chosen = [family for family in FAMILIES.values() if not name or family.name in name.split(",")]
    total, left = sum(family.share for family in chosen), max(0, inputs - sum(family.count for family in chosen))
    counts = {family.name: family.count or max(1, round(left * family.share / total)) for family in chosen}
    mixed = sorted((index / count, name, index) for name, count in counts.items() for index in range(count))
    yield from ((name, index) for _, name, index in mixed)


def fuzz(
    inputs: int, seed: int, only: str = "", verbose: bool = False, skip: int = 0
) -> tuple[dict[str, Row], list[str]]:
    """Run inputs but the first `skip`; returns a row for each family, and a line for each kind of fault."""
    rows: dict[str, Row] = collections.defaultdict(Row)
    kinds: collections.Counter[str] = collections.Counter()
    first: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory() as home,
        Worker(Path(home), seed) as worker,
        contextlib.suppress(KeyboardInterrupt),  # then the table tells of what was tried until then
    ):
        for done, (name, number) in enumerate(plan(inputs, only)):
            if done < skip:
                continue
            if verbose and done and done % 1000 == 0:
                print(f"{done} inputs, {sum(kinds.values())} faults", flush=True)
            result = worker.run(name, number)
            rows[name].add(result)
            for fault in result["faults"]:
                kind = f"{name}: {re.sub(r'[0-9]+', '#', fault)}"
                kinds[kind] += 1
                first.setdefault(kind, f"{name}:{number}: {fault}")
                if verbose and kinds[kind] == 1:
                    print(f"{first[kind]}\n    {result['command']}"[:600], flush=True)
            if verbose and only.endswith(f":{number}"):
                print(result["command"], result["said"], result["trace"], result["faults"], result["seconds"], sep="\n")
    return dict(rows), [f"{count} x {first[kind]}" for kind, count in kinds.most_common()]


def table(rows: dict[str, Row]) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield "| family | inputs | refused | accepted | faults | slowest | most memory |"
    yield "|---|---|---|---|---|---|---|"
    for name, row in rows.items():
        counts = f"{row.inputs} | {row.refused} | {row.accepted} | {row.faults}"
        yield f"| {name} | {counts} | {row.slowest:.1f} s | {row.memory / GB:.2f} GB |"
    total = [sum(getattr(row, name) for row in rows.values()) for name in ("inputs", "refused", "accepted", "faults")]
    yield f"| all | {' | '.join(map(str, total))} | | |"
