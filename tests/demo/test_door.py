"""What the demo's server does not let in: addresses to fetch, other hosts' names, requests that never end."""

import asyncio
import contextlib
import http.client
import http.server
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_fixtures import Server

pytest.importorskip("safehttpx")

import safehttpx
import uvicorn
from starlette.testclient import TestClient

from flowvocoder.web import connections
from flowvocoder.web.connections import ImpatientProtocol, impatient_connections
from flowvocoder.web.names import is_own, own_names

pytestmark = pytest.mark.slow


class PublicHost:
    """A web server that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked = asked = list[str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<script>alert(1)</script>")

            do_HEAD = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.name = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def public() -> Iterator[PublicHost]:
    """A stand-in for a public host; a Gradio that was told so fetches from it (see the first test)."""
    host = PublicHost()
    thread = threading.Thread(target=host.server.serve_forever)
    thread.start()
    yield host
    host.server.shutdown()
    thread.join()
    host.server.server_close()


def ask(demo: Server, method: str, path: str, body: Any = None, host: str | None = None) -> tuple[int, str]:
    """Status and text of an answer to exactly this path."""
    there = urllib.parse.urlsplit(demo.address)
    connection = http.client.HTTPConnection(str(there.hostname), there.port, timeout=300)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or there.netloc)
    data = b"" if body is None else json.dumps(body).encode()
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data)
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def file_at(address: str, **more: Any) -> dict[str, Any]:
    return {"path": address, "meta": {"_type": "gradio.FileData"}, **more}


def test_the_stand_in_would_be_contacted(public: PublicHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Gradio without our door, through `file=` and through the input of a slider."""
    from flowvocoder.demo.parts import gr  # takes seconds

    monkeypatch.setattr(safehttpx, "is_public_ip", lambda ip: True)
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.Button().click(lambda x: x, gr.Slider(), gr.Slider(), api_name="slide", queue=False)
    client = TestClient(gr.routes.App.create_app(blocks))
    assert "<script>" in client.get(f"/gradio_api/file=http://{public.name}/a").text
    client.post("/gradio_api/run/slide", json={"data": [file_at(f"http://{public.name}/b")]})
    assert public.asked == ["/a", "/b"]


ADDRESSES = [
    "file=http://HOST/x.png", "file=HTTP://HOST/x.png", "file=hTTps://HOST/x.png", "file=http%3A%2F%2FHOST%2Fx.png",
    "file=%68ttp://HOST/x.png", "file=http%253A%252F%252FHOST/x.png", "file=//HOST/x.png", "file=%2F%2FHOST/x.png",
    "file=%5C%5CHOST/x.png", "file=/%5CHOST/x.png", "file=%20http://HOST/x.png", "file=%09http://HOST/x.png",
    "file=http:/HOST/x.png", "file=ftp://HOST/x.png", "file=file:///etc/hostname", "file=data:text/html,x", "file=",
    "file/http://HOST/x.png", "proxy=http://HOST/x.png", "proxy=http%3A%2F%2FHOST%2Fx.png", "f%69le=http://HOST/x.png",
]  # fmt: skip


def test_no_address_is_fetched(demo: Server, public: PublicHost) -> None:
    for method in ("GET", "HEAD"):
        for address in ADDRESSES:
            path = f"/gradio_api/{address.replace('HOST', public.name)}"
            assert ask(demo, method, path)[0] == 403, (method, path)
    assert not public.asked
    assert not demo.foreign_hosts()


def test_rooms_of_gradio_that_the_page_does_not_use_are_closed(demo: Server) -> None:
    """Among them those that run ffmpeg on what they are sent, speak to services elsewhere, or edit the program."""
    for room in ("process_recording", "run-history/connect", "vibe-edit", "vibe-code", "component_server", "stream/a"):
        assert ask(demo, "POST", f"/gradio_api/{room}", {})[0] == 403, room
    for room in ("deep_link?session_hash=a", "run-history/buckets", "runs", "custom_component/a/client/b/c"):
        assert ask(demo, "GET", f"/gradio_api/{room}")[0] == 403, room
    assert ask(demo, "GET", "/gradio_api/info")[0] == 200
    assert ask(demo, "GET", "/")[0] == 200


def call(demo: Server, endpoint: str, data: list[Any]) -> str:
    """Everything that is answered to a call of the API."""
    status, text = ask(demo, "POST", f"/gradio_api/call/{endpoint}", {"data": data})
    assert status == 200, text
    return ask(demo, "GET", f"/gradio_api/call/{endpoint}/{json.loads(text)['event_id']}")[1]


@pytest.mark.parametrize("where", range(7))
def test_no_input_takes_an_address(demo: Server, public: PublicHost, where: int) -> None:
    """Whether it is for files or not."""
    for start in ("http://", "HTTP://", "ftp://", "//", "", "http:/"):
        address = f"{start}{public.name}/x.wav"
        for more in ({}, {"is_stream": True}, {"url": "/x"}):
            data: list[Any] = [None, 0.7, 0, 0, 0, False, False]
            data[where] = file_at(address, **more)
            assert "fetches no addresses" in call(demo, "resynthesize", data), (where, address, more)
    assert not public.asked
    assert not demo.foreign_hosts()


def test_no_list_of_inputs_takes_an_address(demo: Server, public: PublicHost) -> None:
    data = [[file_at(f"http://{public.name}/x.wav")]]
    assert "fetches no addresses" in call(demo, "score_files", data)
    assert "fetches no addresses" in call(demo, "score_files", [{"a": data}])
    assert not public.asked


def test_refusals_do_not_tell_where_the_server_runs(demo: Server, tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(b"secret")
    for path in ("/etc/hostname", str(tmp_path / "secret.wav"), "/../x", f"{Path.cwd()}/README.md"):
        answer = call(demo, "resynthesize", [file_at(path), 0.7, 0, 0, 0, False, False])
        assert "not on this server" in answer and "/" not in answer, answer
    fine: list[Any] = [None, 0.7, 0, 0, 0, False, False]
    odd = [[*fine[:place], value, *fine[place + 1 :]] for place in range(7) for value in ({"a": 1}, "a.wav", [], 1e999)]
    for data in ([], [None] * 3, *odd):
        answer = call(demo, "resynthesize", data)
        assert "event: error" in answer and "/" not in answer and "flowvocoder" not in answer, answer


def test_other_hosts_names_are_not_answered(demo: Server) -> None:
    """A page elsewhere whose name is made to lead here must not be able to use the demo."""
    port = urllib.parse.urlsplit(demo.address).port
    for path in ("/", "/config", "/gradio_api/info"):
        for name in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[evil", "localhost.evil"):
            assert ask(demo, "GET", path, host=name)[0] == 403, (path, name)
        for name in ("localhost", f"LOCALHOST:{port}", "127.0.0.1", f"[::1]:{port}", socket.gethostname()):
            assert ask(demo, "GET", path, host=name)[0] == 200, (path, name)


def test_names_of_a_server() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.7", "speech.example"):
        assert own_names(host, ["more.example"]) == [], "machines elsewhere reach it by names it does not know"
    for host in ("127.0.0.1", "::1", "[::1]", "localhost"):
        names = frozenset(own_names(host, ["more.example"]))
        assert is_own("more.example:80", names) and is_own("localhost", names) and is_own("10.0.0.1:1", names)
        assert not is_own("evil.example", names) and not is_own("", names)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Port of a server that answers after a second, and wants heads in half of that."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(1.3)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    with impatient_connections():
        config = uvicorn.Config(application, port=0, log_level="warning", lifespan="off")
        config.load()
    assert config.http_protocol_class is ImpatientProtocol
    assert "auto:" in uvicorn.config.HTTP_PROTOCOLS["auto"], "servers elsewhere in the program are as they were"
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_requests_that_never_end_are_hung_up_on(impatient: int) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as stack:
        half = [stack.enter_context(socket.create_connection(("127.0.0.1", impatient), 10)) for _ in range(20)]
        for index, connection in enumerate(half):
            connection.sendall(whole[: index + 1])
        patient = stack.enter_context(socket.create_connection(("127.0.0.1", impatient), 10))
        patient.sendall(whole)
        assert all(connection.recv(100) == b"" for connection in half)
        answer = b""
        while not answer.endswith(b"\r\n\r\nok"):
            answer += patient.recv(1000) or pytest.fail(f"an answer may take its time: {answer!r}")
        patient.sendall(whole[:20])
        assert patient.recv(100) == b""
