"""Fifty clients at one server: `python -m tests.serve_load --seconds 300 --batch 1 8`, in a clone.

Half of them ask over HTTP, half over websockets, each with mels and seeds of its own, one request after another. Every
answer is compared with what the package gives for that mel and seed alone: equal samples, or within 1e-3 where mels are
short enough to go into batches. For each size of batch a server runs, gets SIGTERM while all ask, and must still answer
what it accepted. Prints a table; exit code 1 if an answer was wrong or lost, a sound request was refused as unsound, or
memory grew. Linux only.
"""

import argparse
import collections
import dataclasses
import http.client
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.mel.files import npy_bytes
from flowvocoder.server.service import SHORT
from flowvocoder.vocoder import Vocoder
from tests.soak.verdict import Memory

EXAMPLES = Path(__file__).parents[1] / "flowvocoder/examples"
CHUNK = 16
LOST = (http.client.HTTPException, WebSocketException, EOFError, OSError)


@dataclasses.dataclass(frozen=True)
class Question:
    """A mel (n_mels, F), a seed, and the 16-bit samples that it gives alone: at once, and as a stream."""

    mel: np.ndarray
    seed: int
    whole: np.ndarray
    streamed: np.ndarray


@dataclasses.dataclass
class Tally:
    """What the clients met."""

    seconds: dict[str, list[float]] = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    audio: float = 0.0
    differing: int = 0
    stopped: float = float("inf")

    def lost(self, started: float, who: str, error: Exception) -> None:
        """A request without an answer: the server's fault, unless it came after the server was told to stop."""
        if started < self.stopped:
            self.wrong.append(f"{who}: no answer: {type(error).__name__}: {error}")
        else:
            self.refused["gone"] += 1


def questions(longest: float, count: int = 24) -> list[Question]:
    """Of half a second to `longest`, with their answers."""
    vocoder, drawn = Vocoder.from_pretrained(), random.Random(0)
    audio = np.concatenate([sf.read(EXAMPLES / f"{name}.flac", dtype="float32")[0] for name in ("kathleen", "kerstin")])
    mel = vocoder.mel(torch.from_numpy(audio))[0]
    made = []
    for seed in range(count):
        frames = int(drawn.uniform(0.5, longest) * vocoder.sample_rate / vocoder.spec.hop_length)
        start = drawn.randrange(mel.shape[1] - frames)
        part = mel[:, start : start + frames].clone()
        whole = vocoder.synthesize(part, seed=seed, trust_mel=True)[0]
        stream = vocoder.stream(seed=seed, trust_mel=True)
        # As they come over a websocket, frame after frame: another order in memory can be a step of 16 bits away.
        pushed = [stream.push(chunk.T.contiguous().T) for chunk in part.split(CHUNK, 1)]
        streamed = torch.cat([*pushed, stream.flush()])
        pcm = [to_pcm16(samples.numpy())[0] for samples in (whole, streamed)]
        made.append(Question(part.numpy(), seed, *pcm))
    return made


class Client(threading.Thread):
    """One of them.

    Args:
        step: by which samples of short mels may differ.
    """

    def __init__(self, number: int, port: int, asked: list[Question], tally: Tally, step: int, over: threading.Event):
        super().__init__(daemon=True)
        self.number, self.port, self.asked, self.tally, self.step = number, port, asked, tally, step
        self.over, self.drawn = over, random.Random(number)
        self.ask = self.over_http if number % 2 else self.over_websocket

    def run(self) -> None:
        while not self.over.is_set():
            question, started = self.drawn.choice(self.asked), time.monotonic()
            try:
                self.ask(question, started)
            except LOST as error:
                self.tally.lost(started, self.name, error)
                time.sleep(0.1)

    def over_http(self, question: Question, started: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            head = {"X-Forwarded-For": f"10.0.0.{self.number}"}
            path = f"/v1/vocode?seed={question.seed}&trust_mel=true"
            connection.request("POST", path, npy_bytes(question.mel), head)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            self.refusal(json.loads(content))
        else:
            step = self.step if len(question.whole) <= SHORT * 22050 else 0
            self.check("HTTP", sf.read(io.BytesIO(content), dtype="int16")[0], question.whole, step)
            self.tally.seconds["HTTP"].append(time.monotonic() - started)

    def over_websocket(self, question: Question, started: float) -> None:
        address = f"ws://127.0.0.1:{self.port}/v1/stream?seed={question.seed}&trust_mel=true"
        head = {"X-Forwarded-For": f"10.0.0.{self.number}"}
        try:
            with connect(address, proxy=None, additional_headers=head, open_timeout=300, ping_timeout=None) as stream:
                stream.recv(300)
                heard, first = b"", None
                for start in range(0, question.mel.shape[1], CHUNK):
                    stream.send(np.ascontiguousarray(question.mel[:, start : start + CHUNK].T).tobytes())
                stream.send("end")
                while isinstance(said := stream.recv(300), bytes):
                    first = first or time.monotonic() - started
                    heard += said
        except InvalidStatus as refusal:
            self.refusal(json.loads(refusal.response.body))
            return
        if "error" in json.loads(said):
            self.refusal(json.loads(said))
            return
        self.check("websocket", np.frombuffer(heard, "<i2"), question.streamed, 0)
        self.tally.seconds["websocket"].append(time.monotonic() - started)
        self.tally.seconds["first samples"].append(first or 0.0)

    def refusal(self, said: dict[str, dict[str, str]]) -> None:
        code = said["error"]["code"]
        self.tally.refused[code] += 1
        if code not in ("busy", "too_many_requests"):
            self.tally.wrong.append(f"{self.name}: a sound request was refused: {said['error']['message']}")
        time.sleep(0.2)

    def check(self, way: str, got: np.ndarray, want: np.ndarray, step: int) -> None:
        self.tally.audio += len(want) / 22050
        if len(got) != len(want):
            self.tally.wrong.append(f"{self.name}, {way}: {len(got)} samples, expected {len(want)}")
        elif (off := int(np.abs(got.astype(int) - want).max())) > step:
            self.tally.wrong.append(f"{self.name}, {way}: samples are off by {off}")
        else:
            self.tally.differing += off > 0


def load(batch: int, arguments: argparse.Namespace, asked: list[Question]) -> tuple[Tally, list[str]]:
    """One server under load, and its row of the table."""
    words = ("serve", "--port", "0", "--batch", str(batch), "--workers", str(arguments.workers))
    server = subprocess.Popen([sys.executable, "-m", "flowvocoder", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline().split("(")[0].rpartition(":")[2])
    tally, memory, over = Tally(), Memory(), threading.Event()
    clients = [Client(n, port, asked, tally, 32 * (batch > 1), over) for n in range(arguments.clients)]
    started = time.monotonic()
    for client in clients:
        client.start()
    while (now := time.monotonic() - started) < arguments.seconds and server.poll() is None:
        memory.add(now, _megabytes(server.pid))
        time.sleep(min(2.0, arguments.seconds / 20))
    took = time.monotonic() - started
    audio, tally.stopped = tally.audio, time.monotonic()
    server.send_signal(signal.SIGTERM)
    code = server.wait(300)
    ended = time.monotonic() - tally.stopped
    over.set()
    for client in clients:
        client.join(60)
    if code != 128 + signal.SIGTERM:
        tally.wrong.append(f"the server ended with {code}")
    if not memory.is_flat:
        tally.wrong.append(f"memory grew by {memory.slope:.0f} MB an hour")
    times = [f"{np.percentile(tally.seconds[way] or [np.nan], p):.2f}" for way in ("HTTP", "websocket", "first samples")
             for p in (50, 99)]  # fmt: skip
    refused = ", ".join(f"{count} {code}" for code, count in tally.refused.most_common()) or "none"
    marks = " ".join(f"{memory.at(share):.0f}" for share in (0.25, 0.5, 0.75, 1.0))
    counts = [str(len(tally.seconds[way])) for way in ("HTTP", "websocket")]
    return tally, [str(batch), *counts, str(len(tally.wrong)), str(tally.differing), refused, *times,
                   f"{audio / took:.1f}", marks, f"{ended:.1f}"]  # fmt: skip


def _megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0


HEADING = (
    "batch", "HTTP", "websocket", "wrong", "rounded", "refused", "HTTP p50, s", "p99", "websocket p50, s", "p99",
    "first samples p50, s", "p99", "x real time", "MB at 25 50 75 100 %", "end after SIGTERM, s",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.serve_load", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--longest", type=float, default=3.0, help="seconds of audio in a request (default 3)")
    arguments = parser.parse_args()
    asked = questions(arguments.longest)
    wrong = []
    for line in (HEADING, ["---"] * len(HEADING)):
        print("| " + " | ".join(line) + " |", flush=True)
    for batch in arguments.batch:
        tally, row = load(batch, arguments, asked)
        print("| " + " | ".join(row) + " |", flush=True)
        wrong += tally.wrong
    print("\n".join(wrong[:20]) or "Every accepted request was answered, and every answer is right.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
