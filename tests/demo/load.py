"""Twenty visitors at once for a minute: `python tests/demo/load.py [ADDRESS]`; without one it starts a demo itself.

Each visitor asks over the API for resyntheses with seeds of its own, one after another. Every answer is compared with
what the package gives for that seed. Prints the count, how long answers took and the server's memory; exit code 1 if
an answer was wrong or none came.
"""

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from gradio_client import Client, handle_file

from flowvocoder.demo.parts import EXAMPLE_NAMES
from flowvocoder.vocoder import Vocoder

RECORDING = next(iter(EXAMPLE_NAMES.values()))
TEMPERATURE, SEEDS = 0.7, 8
CLOSE = 2 / 32768  # rounding to 16 bit


@dataclasses.dataclass
class Tally:
    """What the visitors met."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    wrong: list[str] = dataclasses.field(default_factory=list)


def main() -> int:
    arguments = _arguments()
    answers = expected()
    with tempfile.TemporaryDirectory() as folder:
        server = None
        if arguments.address is None:
            arguments.address = f"http://127.0.0.1:{arguments.port}/"
            server = subprocess.Popen([sys.executable, "-m", "flowvocoder", "demo", "--port", str(arguments.port)])
        try:
            wait(arguments.address)
            return _load(arguments, answers, Path(folder), None if server is None else server.pid)
        finally:
            if server is not None:
                server.terminate()
                server.wait()


def _load(arguments: argparse.Namespace, answers: list[np.ndarray], folder: Path, pid: int | None) -> int:
    tally = Tally()
    end = time.monotonic() + arguments.seconds
    visitors = [
        threading.Thread(target=visit, args=(index, arguments.address, end, answers, folder / str(index), tally))
        for index in range(arguments.clients)
    ]
    for visitor in visitors:
        visitor.start()
    memory = []
    while any(visitor.is_alive() for visitor in visitors):
        if pid is not None:
            memory.append(megabytes(pid))
        time.sleep(1.0)
    for problem in tally.wrong[:10]:
        print(problem)
    print(f"{len(tally.seconds)} answers to {arguments.clients} clients, {len(tally.wrong)} wrong or missing")
    if tally.seconds:
        print(f"seconds for an answer: median {statistics.median(tally.seconds):.1f}, most {max(tally.seconds):.1f}")
    if memory:
        marks = [memory[int(share * (len(memory) - 1))] for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
        print(f"server memory in MB after 10, 25, 50, 75, 100 % of the time: {', '.join(f'{m:.0f}' for m in marks)}")
    return 1 if tally.wrong or not tally.seconds else 0


def visit(
    index: int, address: str, end: float, answers: list[np.ndarray], folder: Path, tally: Tally, pause: float = 0.0
) -> None:
    """One visitor, who waits for `pause` seconds after each answer."""
    try:
        head = {"X-Forwarded-For": f"10.1.0.{index}"}  # as through a proxy: none at one address may fill the queue
        client = Client(address, verbose=False, download_files=str(folder), headers=head, httpx_kwargs={"timeout": 300})
        request = index
        while time.monotonic() < end:
            seed, request = request % SEEDS, request + 1
            started = time.monotonic()
            answer = client.predict(handle_file(RECORDING), TEMPERATURE, seed, api_name="/resynthesize")
            error = float(np.abs(sf.read(answer[1], dtype="float32")[0] - answers[seed]).max())
            if error > CLOSE:
                tally.wrong.append(f"client {index}, seed {seed}: samples are off by {error:.2g}")
            tally.seconds.append(time.monotonic() - started)
            time.sleep(pause)
    except Exception as error:
        tally.wrong.append(f"client {index}: {type(error).__name__}: {error}")


def expected() -> list[np.ndarray]:
    """The right answer for each seed."""
    vocoder = Vocoder.from_pretrained()
    audio = torch.from_numpy(sf.read(RECORDING, dtype="float32")[0])
    return [vocoder.resynthesize(audio, TEMPERATURE, seed=seed)[0].numpy() for seed in range(SEEDS)]


def wait(address: str) -> None:
    for _ in range(120):
        try:
            Client(address, verbose=False)
            return
        except Exception:
            time.sleep(1.0)
    raise SystemExit(f"no demo at {address}")


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/demo/load.py", description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="of a demo that runs already, with the bundled voice")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--port", type=int, default=7866, help="of the demo it starts (default 7866)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
