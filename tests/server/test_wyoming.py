"""Home Assistant's protocol, spoken with its own client."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("wyoming")
pytest.importorskip("hibari")

from serving import serving
from wyoming.client import AsyncTcpClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.tts import Synthesize

from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.text.acoustic import acoustic
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.slow


async def answers(port: int, event: Any, last: str) -> list[Event]:
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(event.event())
        heard: list[Event] = []
        while not heard or heard[-1].type not in (last, "error"):
            one = await asyncio.wait_for(client.read_event(), 60)
            assert one is not None
            heard.append(one)
        return heard


def test_a_text_is_said_and_nonsense_ends_its_own_connection_alone(small_voice: Path) -> None:
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
