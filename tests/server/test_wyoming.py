"""Home Assistant's protocol, spoken with its own client."""

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("wyoming")

from serving import serving
from wyoming.client import AsyncTcpClient
from wyoming.event import Event, read_event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize

from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.mel.toolkits import Toolkit, toolkit
from flowvocoder.server import wyoming
from flowvocoder.text.acoustic import acoustic
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.slow

PATIENCE = 60.0
"""Seconds to wait, on however busy a machine."""


async def answers(port: int, event: Any, last: str) -> list[Event]:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(event.event())
        heard: list[Event] = []
        while not heard or heard[-1].type not in (last, "error"):
            one = await asyncio.wait_for(client.read_event(), 60)
            assert one is not None
            heard.append(one)
        return heard


FRAMES = 300


def flat(text: str, speed: float, seed: int) -> tuple[np.ndarray, Toolkit]:
    """Stands in for an acoustic model: the same seconds of a hum for any text."""
    return np.full((80, FRAMES), -5.0, np.float32), toolkit("tacotron2")


@pytest.fixture
def small_buffers() -> Iterator[socket.socket]:
    """Listens, and leaves most of what is sent with the server until the client takes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        yield listening


@contextlib.contextmanager
def connected(listening: socket.socket) -> Iterator[tuple[socket.socket, BinaryIO]]:
    """A client, which has been accepted, and what it hears."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(listening.getsockname())
        with client.makefile("rb") as answers:
            client.sendall(b'{"type": "describe"}\n')
            about = json.loads(answers.readline())
            answers.read(about["data_length"])
            yield client, answers


def heard(answers: BinaryIO) -> Iterator[Event]:
    while (event := read_event(answers)) is not None:
        yield event


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_place_is_kept_until_all_is_sent(small_voice: Path, small_buffers: socket.socket) -> None:
    vocoder = Vocoder.from_pretrained(small_voice)
    with serving(vocoder, tts=flat, wyoming=small_buffers) as served, connected(small_buffers) as (client, answers):
        client.sendall(b'{"type": "synthesize", "data": {"text": "Hello."}}\n')
        events = heard(answers)
        assert next(events).type == "audio-start"
        assert served.application.places.requests == 1
        served.application.places.stop()
        pieces = list(itertools.takewhile(lambda event: event.type == "audio-chunk", events))
        assert sum(len(piece.payload or b"") for piece in pieces) == 2 * FRAMES * vocoder.spec.hop_length


def test_who_takes_nothing_is_hung_up_on(
    small_voice: Path, small_buffers: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming, "IDLE_SECONDS", 1.0)

    def sockets() -> int:
        found = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of the list itself
                found += str(descriptor.readlink()).startswith("socket:")
        return found

    with serving(Vocoder.from_pretrained(small_voice), tts=flat, wyoming=small_buffers) as served:
        with connected(small_buffers) as (client, answers):
            both = sockets()
            client.sendall(b'{"type": "synthesize", "data": {"text": "Hello."}}\n')
            assert answers.readline()
            wait_until(lambda: sockets() == both - 1)
        assert served.application.places.requests == 0


def test_who_stays_is_hung_up_on_without_a_traceback(
    small_voice: Path, small_buffers: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.ExitStack() as stays:
        with serving(Vocoder.from_pretrained(small_voice), tts=flat, wyoming=small_buffers):
            _, answers = stays.enter_context(connected(small_buffers))
        assert answers.read() == b""
    assert not caplog.records


def test_connections_have_a_limit(
    small_voice: Path, small_buffers: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wyoming, "MOST_CONNECTIONS", 2)

    def one_more() -> bool:
        with contextlib.suppress(OSError, ValueError), connected(small_buffers):
            return True
        return False

    with serving(Vocoder.from_pretrained(small_voice), tts=flat, wyoming=small_buffers):
        with connected(small_buffers), connected(small_buffers):
            assert not one_more()
        wait_until(one_more)


def test_a_text_is_said_and_nonsense_ends_its_own_connection_alone(small_voice: Path) -> None:
    pytest.importorskip("hibari")
    vocoder = Vocoder.from_pretrained(small_voice)
    tts = acoustic(None, vocoder)
    with socket.create_server(("127.0.0.1", 0)) as listening, serving(vocoder, tts=tts, wyoming=listening) as served:
        port = listening.getsockname()[1]
        (about,) = asyncio.run(answers(port, Describe(), "info"))
        assert Info.from_event(about).tts[0].voices[0].languages == ["en"]
        huge = json.dumps({"type": "synthesize", "payload_length": 2**40}).encode() + b"\n"
        for nonsense in (b"x\n", b"[]\n", b"{}\n", huge, b'{"type": "synthesize", "data": {}}\n'):
            with socket.create_connection(("127.0.0.1", port), 20) as client:
                client.sendall(nonsense)
                assert client.recv(1) == b""
        (refused,) = asyncio.run(answers(port, Synthesize(" "), "audio-stop"))
        assert refused.type == "error" and refused.data["text"] == "there is no text to say"
        (refused,) = asyncio.run(answers(port, Synthesize("1" * 999), "audio-stop"))  # a number without words
        assert refused.data["text"].startswith("hibari: fails on this text")
        start, *pieces, stop = asyncio.run(answers(port, Synthesize("Hello there."), "audio-stop"))
        assert (start.type, stop.type, start.data["rate"]) == ("audio-start", "audio-stop", vocoder.sample_rate)
        heard = np.frombuffer(b"".join(piece.payload or b"" for piece in pieces), "<i2")
        numbers, source = tts("Hello there.", 1.0, 0)
        want = vocoder.synthesize(source.undo(numbers), seed=0, trust_mel=True, convention=source.spec)
        assert np.array_equal(heard, to_pcm16(want[0].numpy())[0])
        with served.application.places.request("another", 0):  # for which it stays up
            served.application.places.stop()
            (refused,) = asyncio.run(answers(port, Synthesize("Hello."), "audio-stop"))
        assert refused.data["code"] == "busy"
