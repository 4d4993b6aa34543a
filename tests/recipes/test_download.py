"""Downloads over a line that breaks, from servers that change, restart or send wrong bytes."""

import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from recipe_server import Server

import recipes.download
from flowvocoder.errors import DataError, OutputError
from recipes.download import download

DATA = np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.zip").write_bytes(DATA)
    monkeypatch.setattr(recipes.download, "PAUSES", (0.0, 0.0))
    server = Server(tmp_path / "files")
    yield server
    server.close()


def fetch(server: Server, folder: Path, checksum: str | None = f"sha256:{SHA256}") -> bytes:
    target = folder / "downloads/a.zip"
    assert download(f"{server.url}/a.zip", target, checksum) == hashlib.sha256(target.read_bytes()).hexdigest()
    assert sorted(p.name for p in target.parent.iterdir()) == ["a.zip", "a.zip.sha256"]
    return target.read_bytes()


def offsets(server: Server) -> list[int]:
    return [int((asked or "bytes=0-").removeprefix("bytes=").rstrip("-")) for _, asked in server.requests]


def test_goes_on_by_itself(server: Server, tmp_path: Path) -> None:
    server.faults = ["break", 503, "break", "break"]
    assert fetch(server, tmp_path) == DATA
    assert offsets(server) == [0, 100_000, 100_000, 150_000, 175_000]


def test_progress_earns_new_attempts_and_standstill_does_not(server: Server, tmp_path: Path) -> None:
    server.faults = ["break"] * 12  # far more than PAUSES, and each brings something
    assert fetch(server, tmp_path) == DATA
    (tmp_path / "downloads/a.zip").unlink()
    server.faults = [503] * 3
    with pytest.raises(DataError, match="the server answers 503"):
        fetch(server, tmp_path)


def test_goes_on_at_a_server_that_was_restarted(server: Server, tmp_path: Path) -> None:
    server.faults = ["break", 500, 500, 500]
    with pytest.raises(DataError, match="100000 bytes are kept"):
        fetch(server, tmp_path)
    server.close()
    other = Server(server.root)
    assert fetch(other, tmp_path) == DATA
    assert offsets(other) == [100_000]
    other.close()


def test_starts_again_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    server.faults = ["break", "whole"]
    assert fetch(server, tmp_path) == DATA
    assert offsets(server) == [0, 100_000]


@pytest.mark.parametrize("new", [DATA[::-1], DATA[:1000]], ids=["other bytes", "shorter"])
def test_starts_again_where_the_file_was_changed(server: Server, tmp_path: Path, new: bytes) -> None:
    server.faults = ["break", 500, 500, 500]
    with pytest.raises(DataError):
        fetch(server, tmp_path)
    (server.root / "a.zip").write_bytes(new)
    assert fetch(server, tmp_path, None) == new


def test_complete_partial_is_only_checked(server: Server, tmp_path: Path) -> None:
    """Killed between the last byte and the check."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/a.zip.part").write_bytes(DATA)
    assert fetch(server, tmp_path) == DATA
    assert offsets(server) == [len(DATA)]


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_wrong_bytes_are_refused_with_both_checksums(server: Server, tmp_path: Path, kind: str) -> None:
    server.faults = ["wrong"]
    wanted = hashlib.new(kind, DATA).hexdigest()
    wrong = hashlib.new(kind, bytes(b ^ 0xFF for b in DATA)).hexdigest()
    with pytest.raises(DataError, match=f"a.zip: wrong bytes: their {kind} is {wrong}, expected {wanted}"):
        fetch(server, tmp_path, f"{kind}:{wanted}")
    assert not [p for p in (tmp_path / "downloads").iterdir() if p.suffix != ".tag"], "kept wrong bytes"
    assert fetch(server, tmp_path, f"{kind}:{wanted}") == DATA


def test_wrong_beginning_gets_a_second_chance(server: Server, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/a.zip.part").write_bytes(b"x" * 50_000)
    assert fetch(server, tmp_path) == DATA
    assert offsets(server) == [50_000, 0]


def test_trust_on_first_use(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path, None) == DATA
    target = tmp_path / "downloads/a.zip"
    assert (tmp_path / "downloads/a.zip.sha256").read_text() == f"{SHA256}  a.zip\n"
    target.unlink()
    (server.root / "a.zip").write_bytes(DATA[::-1])
    with pytest.raises(DataError, match=f"expected {SHA256}"):
        download(f"{server.url}/a.zip", target, None)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{server}/b.zip", "the server answers 404"),
        ("http://127.0.0.1:9/a.zip", "the connection broke off"),
        ("nowhere/a.zip", "not a URL"),
    ],
)
def test_servers_that_have_nothing(server: Server, tmp_path: Path, url: str, words: str) -> None:
    url = url.format(server=server.url)
    with pytest.raises(DataError, match=words) as caught:
        download(url, tmp_path / "a.zip", None)
    assert url in str(caught.value) and "\n" not in str(caught.value)


def test_no_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"a\.zip\.part: 200kB are still to come, the disk has 1\.00kB free"):
        fetch(server, tmp_path)


def test_disk_fills_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before is kept, and the next run goes on behind it."""
    monkeypatch.setattr(recipes.download, "CHUNK", 50_000)
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            if self.file.tell() >= 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.file.write(data)

    def opened(path: Path, mode: str = "r", **more):
        file = real(path, mode, **more)
        return Full(file) if path.suffix == ".part" and mode in ("wb", "ab") else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with pytest.raises(OutputError, match="No space left on device"):
            fetch(server, tmp_path)
    assert fetch(server, tmp_path) == DATA
    assert offsets(server) == [0, 100_000]
