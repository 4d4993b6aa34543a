"""The server's answers are the package's own, alone and beside others; it holds its limits, and stops without loss."""

import concurrent.futures
import io
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

import safetensors.numpy
import soundfile as sf
import torch
from serving import Served, serving
from starlette.responses import JSONResponse
from websockets.sync.client import connect

from flowvocoder.audio.pcm16 import to_pcm16
from flowvocoder.mel.files import npy_bytes
from flowvocoder.mel.toolkits import Toolkit
from flowvocoder.server import routes
from flowvocoder.server.gate import Places
from flowvocoder.server.limits import Limits
from flowvocoder.server.service import Service, ToVocode, Vocode
from flowvocoder.vocoder import Vocoder
from flowvocoder.web import bodies, connections

pytestmark = pytest.mark.slow

V = "/v1/vocode"


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    return Vocoder.from_pretrained()


@pytest.fixture(scope="module")
def mels(vocoder: Vocoder) -> list[np.ndarray]:
    """Of 6 stretches of a recording, 10 to 35 frames."""
    audio = sf.read("flowvocoder/examples/kathleen.flac", dtype="float32")[0]
    mel = vocoder.mel(torch.from_numpy(audio))[0].numpy()
    return [mel[:, 50 + 20 * n : 60 + 25 * n].copy() for n in range(6)]


@pytest.fixture(scope="module")
def served(vocoder: Vocoder) -> Iterator[Served]:
    with serving(vocoder) as one:
        yield one


def alone(vocoder: Vocoder, mel: np.ndarray, seed: int, **options: float) -> np.ndarray:
    """16-bit samples of a synthesis in this process."""
    return to_pcm16(vocoder.synthesize(mel, seed=seed, trust_mel=True, **options)[0].numpy())[0]


def pcm(content: bytes) -> np.ndarray:
    return sf.read(io.BytesIO(content), dtype="int16")[0]


def test_all_ways_to_send_a_mel_and_to_get_audio(served: Served, vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    mel = mels[2]
    want = alone(vocoder, mel, 5, temperature=0.5)
    ways = (npy_bytes(mel), safetensors.numpy.save({"mel": mel}), json.dumps({"mel": mel.tolist()}).encode())
    for body in ways:
        status, content = served.ask("POST", f"{V}?seed=5&temperature=0.5&trust_mel=true", body)
        assert status == 200 and np.array_equal(pcm(content), want)
    options = json.dumps({"mel": mel.tolist(), "seed": 5, "temperature": 0.5, "trust_mel": True, "format": "flac"})
    content = served.ask("POST", V, options.encode())[1]
    assert content[:4] == b"fLaC" and np.array_equal(pcm(content), want)
    raw = served.ask("POST", f"{V}?seed=5&temperature=0.5&trust_mel=true&format=pcm", npy_bytes(mel))[1]
    assert np.array_equal(np.frombuffer(raw, "<i2"), want)
    opus = served.ask("POST", f"{V}?seed=5&temperature=0.5&trust_mel=true&format=opus", npy_bytes(mel))[1]
    said = sf.info(io.BytesIO(opus))
    assert (said.subtype, said.samplerate, said.frames) == ("OPUS", 24000, round(len(want) * 24000 / 22050))


def test_recordings(served: Served, vocoder: Vocoder) -> None:
    audio, rate = sf.read("flowvocoder/examples/kerstin.flac", dtype="float32")
    audio = audio[: rate // 2]
    content = io.BytesIO()
    sf.write(content, audio, rate, "PCM_16", format="FLAC")
    body, audio = content.getvalue(), sf.read(io.BytesIO(content.getvalue()), dtype="float32")[0]
    spoken = pcm(served.ask("POST", V, body)[1])
    assert np.array_equal(spoken, to_pcm16(vocoder.resynthesize(audio, seed=0)[0].numpy())[0])
    said = json.loads(served.ask("POST", "/v1/score?by_frame=true", body)[1])
    assert said["nats_per_sample"] == float(vocoder.score(audio))
    assert sum(said["nats_by_frame"]) == pytest.approx(said["nats_per_sample"] * (len(audio) // 256 * 256), rel=1e-4)
    for kind, read in (
        ("npy", lambda content: np.load(io.BytesIO(content))),
        ("json", lambda content: np.array(json.loads(content)["mel"], np.float32)),
        ("safetensors", lambda content: safetensors.numpy.load(content)["mel"]),
    ):
        mel = read(served.ask("POST", f"/v1/mel?format={kind}", body)[1])
        assert np.array_equal(mel, vocoder.mel(audio)[0].numpy())


def test_a_mel_is_encoded_where_no_other_request_waits(
    served: Served, mels: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    class Noted(JSONResponse):
        def render(self, content: Any) -> bytes:
            threads.append(threading.current_thread().name)
            return super().render(content)

    monkeypatch.setattr(routes, "JSONResponse", Noted)
    recording = served.ask("POST", V, npy_bytes(mels[0]))[1]
    assert served.ask("POST", "/v1/mel?format=json", recording)[0] == 200
    assert len(threads) == 1 and threads[0].startswith("reading"), "not in the loop that all requests share"


def test_the_documentation_names_all_and_fetches_nothing(served: Served) -> None:
    page, schema = (served.ask("GET", path)[1].decode() for path in ("/docs", "/openapi.json"))
    for path in json.loads(schema)["paths"]:
        assert path in page
    assert "<code>latency_ms</code>" in page and not re.search("src=|https?:|//", page)


def test_a_stream_gives_what_a_stream_gives(served: Served, vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    mel, own = mels[4], vocoder.stream(seed=2, trust_mel=True)
    with connect(f"ws://127.0.0.1:{served.port}/v1/stream?seed=2&trust_mel=true", proxy=None) as stream:
        about = json.loads(stream.recv())
        assert about["n_mels"] == 80 and about["latency_ms"] == pytest.approx(1000 * own.seconds_behind)
        for start in range(0, mel.shape[1], 7):
            stream.send(np.ascontiguousarray(mel[:, start : start + 7].T).tobytes())
        stream.send("end")
        *heard, end = list(stream)
    want = [own.push(torch.from_numpy(mel[:, start : start + 7])) for start in range(0, mel.shape[1], 7)]
    samples = to_pcm16(torch.cat([*want, own.flush()]).numpy())[0].astype(int)
    # Frames that wait are spoken together, and sums of other lengths are rounded otherwise.
    assert np.abs(np.frombuffer(b"".join(heard), "<i2") - samples).max() <= 1
    assert json.loads(end)["samples"] == 256 * mel.shape[1]


def test_many_at_once_each_get_their_own(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    """Alone bit for bit; in batches within 1e-3, and what is wrong with one is not with its neighbours."""
    requests = [(mels[n % 6], n) for n in range(12)]
    want = [alone(vocoder, mel, seed) for mel, seed in requests]

    def ask(served: Served, mel: np.ndarray, seed: int) -> np.ndarray:
        path, address = f"{V}?trust_mel=true&seed={seed}", f"10.0.0.{seed}"
        status, content = served.ask("POST", path, npy_bytes(mel), address=address)
        return pcm(content) if status == 200 else np.array([status])

    loud = mels[0] * 1e30
    for batch, step in ((1, 0), (6, 32)):
        with serving(vocoder, Limits(batch=batch)) as served, concurrent.futures.ThreadPoolExecutor(20) as clients:
            bad = clients.submit(ask, served, loud, 99)
            got = list(clients.map(lambda request: ask(served, *request), requests))
            sizes = served.ask("GET", "/metrics")[1].decode()
        assert bad.result().tolist() == [400]
        for one, other in zip(got, want, strict=True):
            assert len(one) == len(other) and np.abs(one.astype(int) - other).max() <= step
        full = next(line for line in sizes.splitlines() if 'size_bucket{le="1.0"}' in line)
        assert (float(full.split()[-1]) >= 12) == (batch == 1), "some were synthesised together"


def test_texts_keep_no_mel_waiting(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    """Of three texts one is at work, which takes its time."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(text: str, speed: float, seed: int) -> tuple[np.ndarray, Toolkit]:
        begun.set()
        go_on.wait(60)
        return mels[0], Toolkit(vocoder.spec)

    head = {"Content-Type": "application/json"}
    with serving(vocoder, tts=slow) as served, concurrent.futures.ThreadPoolExecutor(3) as clients:
        texts = [clients.submit(served.ask, "POST", "/v1/audio/speech", b'{"input": "a"}', head) for _ in range(3)]
        try:
            assert begun.wait(60)
            while served.application.places.requests < 3:
                time.sleep(0.01)
            assert served.ask("POST", f"{V}?trust_mel=true", npy_bytes(mels[0]))[0] == 200
        finally:
            go_on.set()
        assert [text.result()[0] for text in texts] == [200] * 3


def test_long_mels_go_alone_on_a_cpu(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    service, options = Service(vocoder, 60.0), Vocode(trust_mel=True)
    short, long = (ToVocode(np.tile(mels[5], (1, n)), vocoder.spec, options) for n in (2, 3))
    assert service.key(short) == service.key(short) and service.key(long) != service.key(long)


def test_an_item_of_a_batch_does_not_hear_the_others(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    """With others in the same shapes an item is the same to the bit: only the shape of products changes rounding."""

    def first_of(other: np.ndarray, seed: int, padding: float) -> np.ndarray:
        batch = np.full((2, 80, 60), padding, np.float32)
        batch[0, :, :35], batch[1] = mels[5], other
        return vocoder.synthesize(batch, seed=[3, seed], lengths=[35, 60], trust_mel=True)[0, : 35 * 256].numpy()

    once, again = first_of(np.full((80, 60), -5.0), 1, -11.0), first_of(np.tile(mels[3], (1, 3))[:, :60], 2, 2.0)
    assert np.array_equal(once, again)
    off = once - vocoder.synthesize(mels[5], seed=3, trust_mel=True)[0].numpy()
    assert np.abs(off).max() < 1e-3 and np.square(off).mean() < 1e-6 * np.square(once).mean()


def test_stopping_finishes_what_was_accepted(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    long = np.tile(mels[5], (1, 6))
    with serving(vocoder) as served, concurrent.futures.ThreadPoolExecutor(9) as clients:
        with connect(f"ws://127.0.0.1:{served.port}/v1/stream?trust_mel=true", proxy=None) as stream:
            stream.recv()
            stream.send(np.ascontiguousarray(mels[5].T).tobytes())
            ask = lambda n: served.ask("POST", f"{V}?trust_mel=true", npy_bytes(long), address=f"10.0.0.{n}")  # noqa: E731
            accepted = [clients.submit(ask, n) for n in range(6)]
            while served.application.places.requests < 6:
                time.sleep(0.005)
            served.server.handle_exit(signal.SIGTERM, None)
            assert served.error("POST", V, npy_bytes(long))["code"] == "busy"
            assert served.ask("GET", "/healthz")[0] == 503, "a balancer sends nobody here any more"
            stream.send(np.ascontiguousarray(mels[4].T).tobytes())
            stream.send("end")
            *heard, end = list(stream)
        assert json.loads(end)["samples"] == 256 * (mels[5].shape[1] + mels[4].shape[1]) == len(b"".join(heard)) // 2
        want = alone(vocoder, long, 0)
        assert all(np.array_equal(pcm(one.result()[1]), want) for one in accepted)
        served.server._captured_signals.clear()


def test_what_is_not_done_in_time_hears_so(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    long = npy_bytes(np.tile(mels[5], (1, 40)))
    with serving(vocoder, Limits(grace=0.0)) as served, concurrent.futures.ThreadPoolExecutor(2) as clients:
        with connect(f"ws://127.0.0.1:{served.port}/v1/stream", proxy=None) as stream:
            stream.recv()
            asked = clients.submit(served.error, "POST", f"{V}?trust_mel=true", long)
            while not served.application.places.requests:
                time.sleep(0.005)
            served.server.handle_exit(signal.SIGTERM, None)
            assert json.loads(stream.recv())["error"]["code"] == "busy"
        assert "stopped before this was done" in asked.result()["message"]
        served.server._captured_signals.clear()


def test_limits_hold(vocoder: Vocoder, mels: list[np.ndarray]) -> None:
    long = npy_bytes(np.tile(mels[5], (1, 6)))
    limits = Limits(workers=1, waiting=4, waiting_of_one=2, streams=1, rate=30, timeout=60.0)
    with serving(vocoder, limits, key="secret") as served, concurrent.futures.ThreadPoolExecutor(9) as clients:
        shown = {"Authorization": "Bearer secret"}
        for head in ({}, {"Authorization": "Bearer no"}, {"X-API-Key": "secrets"}, {"Authorization": "Basic secret"}):
            assert served.error("POST", V, long, head)["code"] == "unauthorized"
        assert served.ask("GET", "/healthz")[0] == 200 and served.ask("GET", "/metrics")[0] == 401

        def ask(address: str) -> int:
            return served.ask("POST", f"{V}?trust_mel=true", long, shown, address=address)[0]

        answers = list(clients.map(ask, [f"10.0.1.{n % 3}" for n in range(9)]))
        assert 200 in answers and set(answers) <= {200, 429, 503} and len(set(answers)) > 1, answers
        address = f"ws://127.0.0.1:{served.port}/v1/stream"
        with connect(address, proxy=None, additional_headers=shown) as stream:
            stream.recv()
            upgrade = {**shown, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                       "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
            assert served.error("GET", "/v1/stream", b"", upgrade)["code"] == "busy"
        often = [served.ask("POST", "/v1/score", b"x", shown, address="10.0.2.1")[0] for _ in range(40)]
        assert often[0] == 400 and often[-1] == 429, "30 in a minute"


def test_places_are_given_back() -> None:
    places = Places(Limits(waiting_of_one=1, rate=0))
    for _ in range(3):
        with pytest.raises(ValueError), places.request("a", 10), places.stream("a"):
            raise ValueError
    assert (places.requests, places.streams, places.held, len(places._of)) == (0, 0, 0, 0)


def test_slow_and_half_open_connections_are_hung_up_on(
    vocoder: Vocoder, monkeypatch: pytest.MonkeyPatch, mels: list[np.ndarray]
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "PAUSE_SECONDS", 0.3)
    head = b"POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with serving(vocoder) as served:
        with connect(f"ws://127.0.0.1:{served.port}/v1/stream?trust_mel=true", proxy=None) as stream:
            stream.recv()
            half = [socket.create_connection(("127.0.0.1", served.port), 10) for _ in range(20)]
            for place, one in enumerate(half):
                one.sendall(head[: 3 * place])
            slow = socket.create_connection(("127.0.0.1", served.port), 10)
            slow.sendall(head + b"abc")
            assert all(one.recv(100) == b"" for one in half)
            answer = b""
            while piece := slow.recv(1000):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 408") and b'"code":"too_slow"' in answer
            time.sleep(0.7)
            stream.send(np.ascontiguousarray(mels[0].T).tobytes())  # a quiet websocket is no half-open request
            stream.send("end")
            assert json.loads(list(stream)[-1])["samples"] == 256 * mels[0].shape[1]
        for one in (*half, slow):
            one.close()
