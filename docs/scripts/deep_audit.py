"""Speed and memory of `audit --deep` on a large corpus, killed once on the way.

python docs/scripts/deep_audit.py OUT CORPUS... [--utterances 10000] [--kill-at 500]

The corpus is made of stretches of shared recordings, each a little shorter than the last one of its file, so that no
two utterances are the same. Started again, the script goes on where it was; what it saw is in OUT/log.jsonl.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import soundfile as sf
from tables import table

from flowvocoder.data.manifest import Entry, read_manifest, write_manifest
from flowvocoder.files import sha256_of

SHORTER, SHORTEST = 0.05, 0.5
"""Seconds cut off the beginning with each repeat of a file, and what must be left."""

EVERY = 10.0
"""Seconds between two lines of the log."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("corpora", metavar="CORPUS", nargs="+", type=Path)
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--kill-at", type=int, default=500, help="rows after which the first run is killed")
    arguments = parser.parse_args()
    out = arguments.out
    manifest, report, log = out / "manifest.jsonl", out / "deep.jsonl", out / "log.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    if not manifest.exists():
        write_manifest(manifest, stretches(arguments.corpora, arguments.utterances))
    lengths = [entry.duration / entry.rate for entry in read_manifest(manifest)]
    if not log.exists():
        hear(manifest, report, log, arguments.kill_at)
    finished = hear(manifest, report, log, None)
    print(table(("run", "rows", "x real time a core", "MB after 100 rows", "MB at the end", "MB at most"),
                [summary(run, lengths) for run in runs(log)]))  # fmt: skip
    print(f"{len(lengths)} utterances, {sum(lengths) / 3600:.1f} h, {'all' if finished else 'not all'} heard")


def stretches(corpora: list[Path], count: int) -> Iterator[Entry]:
    files = [(sf.info(f), f, sha256_of(f)) for corpus in corpora for f in sorted((corpus / "wavs").glob("*.flac"))]
    made = turn = 0
    while made < count:
        for info, file, digest in files:
            start = round(turn * SHORTER * info.samplerate)
            left = info.frames - start
            if made < count and left >= SHORTEST * info.samplerate:
                yield Entry(id=f"{file.stem}-{turn}", path=str(file.resolve()), start=start, duration=left,
                            rate=info.samplerate, speaker="", language="", sha256=digest, split="train")  # fmt: skip
                made += 1
        turn += 1


def hear(manifest: Path, report: Path, log: Path, kill_at: int | None) -> bool:
    """One run, watched; whether it came to its end."""
    command = [
        sys.executable,
        "-m",
        "flowvocoder",
        "audit",
        str(manifest),
        "--deep",
        str(report),
        "--json",
        "--jobs",
        "1",
    ]
    with (report.parent / "found.json").open("w") as found, log.open("a") as lines:
        process = subprocess.Popen(command, stdout=found)
        first = rows(report)
        while process.poll() is None:
            time.sleep(EVERY if kill_at is None else 1.0)
            if process.poll() is None:
                seen = {"pid": process.pid, "first": first, "rows": rows(report), **state(process.pid)}
                lines.write(json.dumps(seen) + "\n")
                lines.flush()
                if kill_at is not None and seen["rows"] >= kill_at:
                    process.send_signal(signal.SIGKILL)
    return process.returncode in (0, 1)


def rows(report: Path) -> int:
    return max(0, report.read_bytes().count(b"\n") - 1) if report.exists() else 0


def state(pid: int) -> dict[str, float]:
    """CPU seconds and megabytes, of the process and those that it started."""
    total = {"cpu": 0.0, "mb": 0.0}
    for process in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            own = Path(f"/proc/{process}/smaps_rollup").read_text()
            total["cpu"] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            total["mb"] += int(own.split("Pss:")[1].split()[0]) / 1024
    return total


def runs(log: Path) -> list[list[dict[str, float]]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [[line for line in lines if line["pid"] == pid] for pid in dict.fromkeys(line["pid"] for line in lines)]


def summary(run: list[dict[str, float]], lengths: list[float]) -> tuple[str, ...]:
    heard = [line for line in run if line["rows"] > line["first"]] or run[-1:]
    begin, end = heard[0], heard[-1]
    audio, cpu = sum(lengths[int(begin["rows"]) : int(end["rows"])]), end["cpu"] - begin["cpu"]
    settled = next((line for line in heard if line["rows"] >= line["first"] + 100), end)
    return (f"from row {run[0]['first']:.0f}", f"{end['rows']:.0f}", f"{audio / cpu if cpu else 0:.1f}",
            f"{settled['mb']:.0f}", f"{end['mb']:.0f}", f"{max(line['mb'] for line in run):.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
