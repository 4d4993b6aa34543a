"""A running demo, and a browser to look at it with."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

CHROMIUM_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


@dataclasses.dataclass
class Server:
    """A demo that runs as a program of its own."""

    address: str
    process: subprocess.Popen[bytes]
    temporary: Path
    hosts: Path
    log: Path

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

    def foreign_hosts(self) -> set[str]:
        """What it spoke to or looked up beyond this machine."""
        return set(self.hosts.read_text().split()) - {"127.0.0.1", "localhost", "::1", "0.0.0.0"}


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Server]:
    """The demo on a free port, its temporary files in `folder`; terminated at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary, hosts, log = folder / "tmp", folder / "hosts.txt", folder / "log.txt"
    temporary.mkdir()
    script = Path(__file__).with_name("demo_server.py")
    # -P: the folder of the script, where recipes/ is one of tests, must not come before the package.
    command = [sys.executable, "-P", str(script), str(hosts), "--port", str(port)]
    # Where the environment names a proxy, here one that there is not, the demo speaks to itself all the same.
    proxy = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "elsewhere.example"}
    settings = {**os.environ, **proxy, "TMPDIR": str(temporary), "MALLOC_ARENA_MAX": "2"}
    with log.open("wb") as output:
        process = subprocess.Popen([*command, *arguments], stdout=output, stderr=output, env=settings)
    server = Server(f"http://127.0.0.1:{port}/", process, temporary, hosts, log)
    try:
        _wait(server)
        yield server
    finally:
        for _ in range(2):  # as a shell does that ends a whole group
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def assert_nothing_is_left(server: Server) -> None:
    """Of a server that was terminated."""
    assert server.process.returncode == 143, "ended by SIGTERM, twice"
    assert not [path for path in server.temporary.rglob("*") if path.is_file()], "files were left behind"
    assert not server.foreign_hosts(), "it spoke to other machines"


def _wait(server: Server, seconds: float = 300.0) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with direct.open(server.address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the demo did not start: {server.log.read_text()}")
