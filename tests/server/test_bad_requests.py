"""Sixty kinds of bad requests: an error object each, and a server that goes on."""

import contextlib
import io
import json
import logging
import pickle
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("websockets")

import safetensors.numpy
import soundfile as sf
from serving import Served, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from flowvocoder.mel.files import npy_bytes
from flowvocoder.server import gate
from flowvocoder.server.limits import LARGEST_JSON, Limits
from flowvocoder.vocoder import Vocoder
from flowvocoder.web.bodies import LARGEST_FILE

V, S, M, A = "/v1/vocode", "/v1/score", "/v1/mel", "/v1/audio/speech"
JSON = {"Content-Type": "application/json"}
FINE = np.full((80, 8), -5.0, np.float32) + np.linspace(0, 1, 80, dtype=np.float32)[:, None]


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def wav(samples: np.ndarray, rate: int = 22050) -> bytes:
    content = io.BytesIO()
    sf.write(content, samples, rate, "FLOAT", format="WAV")
    return content.getvalue()


def with_value(value: float) -> bytes:
    mel = FINE.copy()
    mel[3, 4] = value
    return npy_bytes(mel)


def claiming(shape: str, dtype: str = "<f4") -> bytes:
    """A `.npy` file whose header says this."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


def as_json(mel: Any, **more: Any) -> bytes:
    return json.dumps({"mel": mel, **more}).encode()


GOOD = npy_bytes(FINE)


class Bad(NamedTuple):
    """A request, and what is answered."""

    path: str
    body: bytes
    status: int
    code: str
    method: str = "POST"
    head: dict[str, str] | None = None


BAD = {
    # what the body is
    "nothing": Bad(V, b"", 400, "bad_request"),
    "text": Bad(V, b"hello", 400, "bad_audio"),
    "noise": Bad(V, np.random.default_rng(0).bytes(5000), 400, "bad_audio"),
    "html": Bad(V, b"<html><script>alert(1)</script>", 400, "bad_audio"),
    "a pickle": Bad(V, pickle.dumps(print), 400, "bad_audio"),
    "a zip": Bad(V, b"PK\x03\x04" + bytes(100), 400, "bad_audio"),
    "npy of objects": Bad(V, npy(np.array([[{}]], dtype=object)), 400, "bad_mel"),
    "npy of text": Bad(V, npy(np.array([["a"] * 8] * 80)), 400, "bad_mel"),
    "npy of integers": Bad(V, npy(FINE.astype(np.int64)), 400, "bad_mel"),
    "npy of complex numbers": Bad(V, npy(FINE.astype(np.complex64)), 400, "bad_mel"),
    "npy cut short": Bad(V, GOOD[:-100], 400, "bad_mel"),
    "npy cut in its head": Bad(V, GOOD[:20], 400, "bad_mel"),
    "npy of a terabyte": Bad(V, claiming("(80, 3000000000)"), 400, "bad_mel"),
    "npy of giant items": Bad(V, claiming("(1,)", "|V2000000000"), 400, "bad_mel"),
    "npy of a negative length": Bad(V, claiming("(80, -1)"), 400, "bad_mel"),
    "npy head of code": Bad(V, claiming("__import__('os')"), 400, "bad_mel"),
    "safetensors cut short": Bad(V, safetensors.numpy.save({"mel": FINE})[:-9], 400, "bad_mel"),
    "safetensors of several": Bad(V, safetensors.numpy.save({"a": FINE, "b": FINE}), 400, "bad_mel"),
    "safetensors of integers": Bad(V, safetensors.numpy.save({"mel": FINE.astype(np.int32)}), 400, "bad_mel"),
    "safetensors that overlap": Bad(
        V, struct.pack("<Q", 60) + b'{"mel":{"dtype":"F32","shape":[80,8],"data_offsets":[0,4]}}'.ljust(60) + bytes(9),
        400, "bad_mel",
    ),
    # the mel
    "other bands": Bad(V, npy_bytes(np.zeros((100, 8), np.float32)), 400, "bad_mel"),
    "transposed": Bad(V, npy_bytes(FINE.T), 400, "bad_mel"),
    "one axis": Bad(V, npy_bytes(FINE[0]), 400, "bad_mel"),
    "four axes": Bad(V, npy_bytes(FINE[None, None]), 400, "bad_mel"),
    "no axis": Bad(V, npy_bytes(np.float32(1.0)), 400, "bad_mel"),
    "no frames": Bad(V, npy_bytes(FINE[:, :0]), 400, "bad_mel"),
    "two items": Bad(V, npy_bytes(np.stack([FINE, FINE])), 400, "bad_mel"),
    "NaN": Bad(V, with_value(np.nan), 400, "bad_mel"),
    "infinity": Bad(V, with_value(-np.inf), 400, "bad_mel"),
    "beyond 32 bits": Bad(V, npy(FINE.astype(np.float64) * 1e300), 400, "bad_mel"),
    "scaled to 0..1": Bad(V, npy_bytes(np.random.default_rng(0).random((80, 99), np.float32)), 400, "implausible_mel"),
    "too long": Bad(V, npy_bytes(np.tile(FINE, (1, 100))), 400, "bad_mel"),
    # JSON
    "JSON that breaks off": Bad(V, b'{"mel": [[1.0, ', 400, "bad_mel"),
    "JSON without a mel": Bad(V, b"{}", 400, "bad_mel"),
    "a JSON list": Bad(V, b"[[1.0]]", 400, "bad_mel"),
    "JSON of uneven lists": Bad(V, as_json([[1.0], [1.0, 2.0]]), 400, "bad_mel"),
    "JSON of words": Bad(V, as_json([["a"]]), 400, "bad_mel"),
    "JSON of nulls": Bad(V, as_json([[None]]), 400, "bad_mel"),
    "JSON with NaN": Bad(V, b'{"mel": [' + b"[NaN]," * 79 + b"[NaN]]}", 400, "bad_mel"),
    "JSON 100 000 deep": Bad(V, b'{"mel": ' + b"[" * 100_000, 400, "bad_mel"),
    "JSON of a giant number": Bad(V, b'{"mel": [[' + b"9" * 10_000 + b"]]}", 400, "bad_mel"),
    "JSON that is no UTF-8": Bad(V, b'{"mel": "\xff\xfe"}', 400, "bad_mel"),
    "JSON with another key": Bad(V, as_json(FINE.tolist(), path="/etc/passwd"), 400, "bad_option"),
    "JSON with a wrong option": Bad(V, as_json(FINE.tolist(), seed="x"), 400, "bad_option"),
    "speech of no JSON": Bad(A, b"hello", 400, "bad_option", head=JSON),
    "speech as a form": Bad(A, b"input=hello", 400, "bad_option"),
    "speech without a text": Bad(A, b"{}", 400, "bad_option", head=JSON),
    "much JSON": Bad(V, b'{"mel": [[' + b"1," * (LARGEST_JSON // 2), 400, "bad_mel"),
    # options
    "an unknown option": Bad(f"{V}?sed=1", GOOD, 400, "bad_option"),
    "a negative seed": Bad(f"{V}?seed=-1", GOOD, 400, "bad_option"),
    "a giant seed": Bad(f"{V}?seed={10**40}", GOOD, 400, "bad_option"),
    "a temperature that is none": Bad(f"{V}?temperature=nan", GOOD, 400, "bad_option"),
    "a hot temperature": Bad(f"{V}?temperature=1e9", GOOD, 400, "bad_option"),
    "a million iterations": Bad(f"{V}?gl_iters=1000000", GOOD, 400, "bad_option"),
    "half an iteration": Bad(f"{V}?gl_iters=1.5", GOOD, 400, "bad_option"),
    "a latency beside iterations": Bad(f"{V}?latency_ms=100&gl_iters=1", GOOD, 400, "bad_option"),
    "a latency of nothing": Bad(f"{V}?latency_ms=1", GOOD, 400, "bad_option"),
    "a convention that there is not": Bad(f"{V}?convention=../../etc", GOOD, 400, "bad_option"),
    "a convention that is not served": Bad(f"{V}?convention=vocos-24k", GOOD, 400, "bad_option"),
    "a format that there is not": Bad(f"{V}?format=exe", GOOD, 400, "bad_option"),
    # recordings
    "a recording of no samples": Bad(V, wav(np.zeros(0)), 400, "bad_audio"),
    "a short recording": Bad(S, wav(np.zeros(10)), 400, "bad_audio"),
    "a long recording": Bad(M, wav(np.zeros(22050 * 9)), 400, "bad_audio"),
    "a recording of NaN": Bad(S, wav(np.full(22050, np.nan)), 400, "bad_audio"),
    "a loud recording": Bad(M, wav(np.full(22050, 1e9)), 400, "bad_audio"),
    "a rate of 1 Hz": Bad(S, wav(np.zeros(9000), 1), 400, "bad_audio"),
    "a recording to mel elsewhere": Bad(f"{M}?convention=nope", wav(np.zeros(9000)), 400, "bad_option"),
    "a mel to score": Bad(S, GOOD, 400, "bad_audio"),
    # HTTP
    "a path that there is not": Bad("/v1/nothing", GOOD, 404, "not_found"),
    "a path upwards": Bad("/../../etc/passwd", b"", 404, "not_found", "GET"),
    "a path upwards in code": Bad("/%2e%2e/%2e%2e/etc/passwd", b"", 404, "not_found", "GET"),
    "an address for a path": Bad("http://127.0.0.1:1/v1/vocode", b"", 404, "not_found", "GET"),
    "another method": Bad(V, b"", 405, "method_not_allowed", "GET"),
    "a method that there is not": Bad(V, b"", 405, "method_not_allowed", "BREW"),
    "too much": Bad(V, b"", 413, "too_large", head={"Content-Length": str(LARGEST_FILE + 1)}),
    "a body with a GET": Bad("/v1/voice", b"", 413, "too_large", "GET", {"Content-Length": "5"}),
    "no length": Bad(V, b"", 411, "length_required", head={"Transfer-Encoding": "chunked"}),
    "another host": Bad(V, GOOD, 403, "forbidden", head={"Host": "evil.example"}),
    "a multipart form": Bad(V, b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--', 400, "bad_audio"),
}  # fmt: skip


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    vocoder = Vocoder.from_pretrained()
    vocoder.prepare()
    with serving(vocoder, Limits(longest=8.0)) as one:
        yield one


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_an_error_object(served: Served, name: str) -> None:
    path, body, status, code, method, head = BAD[name]
    error = served.error(method, path, body, head)
    assert (error["status"], error["code"]) == (status, code), error


PATIENCE = 120.0
"""Seconds to wait for an answer, on however busy a machine."""

HANDSHAKE = "GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
NO_REQUEST = {
    "bytes": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    "a length of words": b"POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
    "two lengths": b"POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "a path of bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a head that is too long": b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000,
    "a stream that begins with POST": HANDSHAKE.replace("GET", "POST").encode() + KEY.encode() + b"\r\n",
    "a stream of another version": f"{HANDSHAKE}{KEY}Sec-WebSocket-Version: 8\r\n\r\n".encode(),
    "a stream without a key": f"{HANDSHAKE}Sec-WebSocket-Version: 13\r\n\r\n".encode(),
    "a stream with a short key": f"{HANDSHAKE}Sec-WebSocket-Key: AA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
}


def exchange(served: Served, content: bytes) -> bytes:
    """All that is answered to these bytes."""
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as client, client.makefile("rb") as answers:
        client.sendall(content)
        return answers.read()


@pytest.mark.parametrize("name", NO_REQUEST)
def test_what_is_no_request_gets_an_error_object(served: Served, name: str) -> None:
    head, _, body = exchange(served, NO_REQUEST[name]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"application/json" in head
    error = json.loads(body)["error"]
    assert error["code"] == "bad_request" and error["status"] == 400 and error["message"]


def test_a_stream_is_only_where_it_is(served: Served) -> None:
    asked = HANDSHAKE.replace("/v1/stream", "/v1/voice") + KEY + "Sec-WebSocket-Version: 13\r\n\r\n"
    head, _, body = exchange(served, asked.encode()).partition(b"\r\n\r\n")
    assert b" 404 " in head and json.loads(body)["error"]["code"] == "not_found"


def test_clients_that_hang_up_fill_no_log(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)

    def counted() -> float:
        lines = served.ask("GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("flowvocoder_requests_total"))

    before = counted()
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as client:
        client.sendall(b"POST /v1/vocode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nab")
    deadline = time.monotonic() + PATIENCE
    while served.application.places.requests or counted() < before + 2:  # the one before, and this
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not caplog.records


def hear_until(client: socket.socket, wanted: bytes) -> None:
    heard = b""
    while wanted not in heard:
        piece = client.recv(4096)
        assert piece, heard
        heard += piece


def test_text_that_is_no_utf8_gets_an_error_object_and_fills_no_log(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    with socket.create_connection(("127.0.0.1", served.port), PATIENCE) as client:
        client.sendall(f"{HANDSHAKE}{KEY}Sec-WebSocket-Version: 13\r\n\r\n".encode())
        hear_until(client, b"\r\n\r\n")  # what comes before this answer to the handshake may get lost
        client.sendall(b"\x81\x82\0\0\0\0\xff\xfe")
        hear_until(client, b"bad_mel")
    assert not caplog.records


def test_too_many_connections_are_told_so(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "MOST_CONNECTIONS", 2)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), PATIENCE))
        deadline = time.monotonic() + PATIENCE
        while len(served.application.places.connections) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert served.error("GET", "/healthz")["code"] == "busy"


def test_json_may_begin_with_blanks_or_a_mark(served: Served) -> None:
    content = as_json(FINE.tolist())
    for before in (b"\n  ", b"\xef\xbb\xbf"):
        assert served.error("POST", V, before + content[:-9])["code"] == "bad_mel"
    with_option = as_json(FINE.tolist(), seed="x")
    assert served.error("POST", V, b"\n" + with_option)["message"].startswith("seed: ")


def test_load_balancers_ask_for_the_head(served: Served) -> None:
    assert served.ask("HEAD", "/healthz") == (200, b"")


@pytest.mark.slow
def test_afterwards_the_server_is_as_before(served: Served) -> None:
    status, content = served.ask("POST", f"{V}?seed=3", GOOD)
    assert status == 200 and len(sf.read(io.BytesIO(content))[0]) == 8 * 256
    places, deadline = served.application.places, time.monotonic() + 60
    while (places.requests or places.held) and time.monotonic() < deadline:
        time.sleep(0.01)  # an answer is read before its place is free
    assert places.requests == places.held == 0


BAD_STREAMS: dict[str, tuple[str, list[Any], str]] = {
    "a wrong option": ("?seed=-1", [], "bad_option"),
    "an unknown option": ("?format=wav", [], "bad_option"),
    "half a frame": ("", [bytes(100)], "bad_mel"),
    "an empty message": ("", [b""], "bad_mel"),
    "words": ("", ["hello"], "bad_mel"),
    "no frames": ("", ["end"], "bad_mel"),
    "NaN": ("", [np.full(80, np.nan, "<f4").tobytes()], "bad_mel"),
    "numbers from 0 to 1": ("", [np.random.default_rng(0).random(80 * 300).astype("<f4").tobytes()], "implausible_mel"),
    "a short latency": ("?latency_ms=1", [], "bad_option"),
}


def talk(served: Served, query: str, messages: list[Any], **head: str) -> tuple[list[Any], int]:
    """All that a stream answers to messages, JSON decoded, and the code that it closes with."""
    said: list[Any] = []
    address = f"ws://127.0.0.1:{served.port}/v1/stream{query}"
    with connect(address, proxy=None, additional_headers=head) as stream, contextlib.suppress(ConnectionClosed):
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                stream.send(message)
        while True:
            answer = stream.recv(timeout=30)
            said.append(json.loads(answer) if isinstance(answer, str) else answer)
    return said, stream.close_code or 0


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_bad_stream_gets_an_error_object(served: Served, name: str) -> None:
    query, messages, code = BAD_STREAMS[name]
    said, closed = talk(served, query, messages)
    assert said[-1]["error"]["code"] == code and closed == 1008


def test_streams_that_are_not_let_in(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        talk(served, "", [], Origin="http://evil.example")
    assert json.loads(refusal.value.response.body)["error"]["code"] == "forbidden"
    assert talk(served, "", [bytes(2**20 + 320)])[1] == 1009, "a message may have a MiB"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Host": "evil.example"}  # fmt: skip
    assert served.error("GET", "/v1/stream", b"", upgrade)["code"] == "forbidden"
    assert "handshake" not in caplog.text, "a log that anybody can fill"
