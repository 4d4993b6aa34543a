"""How much one visitor of the demo may send, and ask for at a time."""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import time
import urllib.parse
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from demo_fixtures import Server

pytest.importorskip("starlette")

from flowvocoder.web import bodies
from flowvocoder.web.bodies import WAITING_OF_ONE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def limits() -> ModuleType:
    """Not imported by all that collect these tests: it imports Gradio, which takes seconds."""
    return pytest.importorskip("flowvocoder.demo.limits")


def visit(
    demo: Server, method: str, path: str, head: dict[str, Any], body: bytes = b"", address: str = "10.0.0.1"
) -> tuple[int, str]:
    """Status and text of the answer to a request that a proxy passes on for `address`."""
    there = urllib.parse.urlsplit(demo.address)
    connection = http.client.HTTPConnection(str(there.hostname), there.port, timeout=60)
    connection.putrequest(method, path)
    for name, value in {"X-Forwarded-For": address, **head}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def post(demo: Server, path: str, body: Any, address: str = "10.0.0.1") -> tuple[int, str]:
    data = json.dumps(body).encode()
    head = {"Content-Type": "application/json", "Content-Length": len(data)}
    return visit(demo, "POST", f"/gradio_api/{path}", head, data, address)


def upload(demo: Server, content: bytes, name: bytes = b'; filename="a.wav"') -> tuple[int, str]:
    body = b'--b\r\nContent-Disposition: form-data; name="files"%s\r\n\r\n%s\r\n--b--\r\n' % (name, content)
    head = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": len(body)}
    return visit(demo, "POST", "/gradio_api/upload", head, body)


def test_bodies_that_claim_too_much_are_not_read(demo: Server, limits: ModuleType) -> None:
    request, upload = limits.LARGEST_REQUEST, limits.LARGEST_UPLOAD
    for path, most in (("queue/join", request), ("run/walk", request), ("upload", upload)):
        status, text = visit(demo, "POST", f"/gradio_api/{path}", {"Content-Length": most + 1})
        assert status == 413 and str(most // 2**20) in text, path
        assert visit(demo, "POST", f"/gradio_api/{path}", {"Transfer-Encoding": "chunked"})[0] == 411, path
    with pytest.raises((ConnectionError, http.client.HTTPException)):  # a head has a limit too
        visit(demo, "GET", "/config", {"X-Long": "a" * 2**24})


def test_an_upload_holds_files_only(demo: Server) -> None:
    """Gradio keeps other parts in memory, whatever their length."""
    assert upload(demo, b"RIFF", b"")[0] == 400
    assert upload(demo, b"RIFF")[0] == 200


def test_nobody_passes_the_queue_by(demo: Server) -> None:
    for room in ("run", "api"):
        for name in ("resynthesize", "walk", "speak", "check_mel", "pair", "fit_flow", "sample_flow"):
            assert post(demo, f"{room}/{name}", {"data": []})[0] in (403, 404), (room, name)


def test_one_address_cannot_fill_the_queue(demo: Server, wav: Path) -> None:
    recording = json.loads(upload(demo, wav.read_bytes())[1])[0]
    body = {"data": [{"path": recording, "meta": {"_type": "gradio.FileData"}}, 0.7, 0, 0, 0, False, False]}
    answers = [post(demo, "call/resynthesize", body) for _ in range(3 * WAITING_OF_ONE)]
    assert [status for status, _ in answers[:WAITING_OF_ONE]] == [200] * WAITING_OF_ONE
    assert f"{WAITING_OF_ONE} requests of yours" in next(text for status, text in answers if status == 503)
    other = post(demo, "call/resynthesize", body, address="10.0.0.2")
    assert other[0] == 200, "somebody else still gets a place"
    for _, text in answers:
        event = json.loads(text).get("event_id")
        post(demo, "cancel", {"session_hash": event, "fn_index": 0, "event_id": event})
    assert "complete" in visit(demo, "GET", f"/gradio_api/call/resynthesize/{json.loads(other[1])['event_id']}", {})[1]


def _through(folder: Path, length: int, pieces: list[bytes], wait: float = 0, path: str = "/gradio_api/upload") -> Any:
    """Status, or what the application got, of a request whose body comes in pieces, with waits between them."""
    from flowvocoder.demo.limits import Bodies

    got, sent = [], []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            got.append(message["body"])
            more = message["more_body"]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    head = [(b"content-length", str(length).encode())]
    asyncio.run(Bodies(application, folder)({"type": "http", "path": path, "headers": head}, receive, send))
    return sent[0]["status"] if sent else b"".join(got)


def test_slow_bodies_are_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _through(tmp_path, 3, [b"a", b"b", b"c"]) == b"abc"
    monkeypatch.setattr(bodies, "PAUSE_SECONDS", 0.2)
    assert _through(tmp_path, 2, [b"a", b"b"], wait=1.0) == 408, "a pause"
    monkeypatch.setattr(bodies, "SLOWEST", 1000)
    assert _through(tmp_path, 100, [b"a"] * 100, wait=0.1) == 408, "a piece now and then"


def test_a_slow_body_frees_its_connection(demo: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    there = urllib.parse.urlsplit(demo.address)
    with socket.create_connection((str(there.hostname), there.port or 80), 60) as connection:
        connection.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        answer = b""
        while piece := connection.recv(1000):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_the_disk_has_room_for_so_much(tmp_path: Path, limits: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_STORED", 100)
    broken_off, kept = tmp_path / "tmpabc", tmp_path / "uploaded" / "a.wav"
    kept.parent.mkdir()
    for path in (broken_off, kept):
        path.write_bytes(bytes(60))
    assert _through(tmp_path, 3, [b"abc"]) == 503
    assert _through(tmp_path, 3, [b"abc"], path="/config") == b"abc"
    os.utime(broken_off, (0, time.time() - limits.KEEP_SECONDS - 1))
    assert _through(tmp_path, 3, [b"abc"]) == b"abc" and not broken_off.exists() and kept.exists()
    assert _through(tmp_path, 41, [b"abc"]) == 503, "what is still to come counts"


def test_old_folders_go_once_they_are_empty(tmp_path: Path, limits: ModuleType) -> None:
    """Every result has a folder of its own, of which Gradio deletes the file alone."""
    old, new, full = (tmp_path / name for name in ("old", "new", "full"))
    for folder in (old, new, full):
        folder.mkdir()
    (full / "a.wav").write_bytes(b"RIFF")
    for folder in (old, full, tmp_path):
        os.utime(folder, (0, time.time() - limits.KEEP_SECONDS - 1))
    assert _through(tmp_path, 3, [b"abc"]) == b"abc"
    assert sorted(tmp_path.iterdir()) == [full, new]
