"""Demo server, stream and training beside each other for an hour: `python -m tests.soak --minutes 60`, in a clone.

Each result is compared with what the same gives alone, and the memory of each process is recorded. Prints a table and a
verdict; exit code 1 if a result was wrong, a process ended, or memory grew. Linux only: memory is read in /proc.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.demo.load import megabytes
from tests.soak.parts import PARTS, Part
from tests.soak.verdict import Memory, table

SAMPLE_EVERY = 5.0  # seconds


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="flowvocoder-soak-") as folder:
        parts = [PARTS[name](Path(folder) / name, 60.0 * arguments.minutes) for name in arguments.parts]
        memory = {part.name: Memory() for part in parts}
        try:
            for part in parts:
                part.start()
            _watch(parts, memory, 60.0 * arguments.minutes)
            if arguments.out:
                values = {name: {"seconds": m.seconds, "megabytes": m.megabytes} for name, m in memory.items()}
                arguments.out.write_text(json.dumps(values), encoding="utf-8")
            for part in parts:
                part.stop()
        finally:
            for part in parts:
                part.kill()
        for part in parts:
            print(f"{part.name}: the same alone", file=sys.stderr, flush=True)
            part.compare()
    print(table(parts, memory))
    wrong = [f"{part.name}: {problem}" for part in parts for problem in part.problems[:10]]
    grown = [f"{name}: memory grew" for name, m in memory.items() if not m.is_flat]
    print("\n".join([*wrong, *grown]) or "All results are right, and memory is flat.")
    return 1 if wrong or grown else 0


def _watch(parts: list[Part], memory: dict[str, Memory], seconds: float) -> None:
    started = time.monotonic()
    while (now := time.monotonic() - started) < seconds and all(part.is_running() for part in parts):
        for part in parts:
            if part.is_running():
                memory[part.name].add(now, megabytes(part.pid))
        time.sleep(SAMPLE_EVERY)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all of them")
    parser.add_argument("--out", type=Path, metavar="JSON", help="also write memory over time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
