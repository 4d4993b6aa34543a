"""Bad archives and metadata, and the command line: one sentence, the right exit code, nothing lost."""

import functools
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_miniatures import MINIATURES, content, pack, unpacked
from recipe_server import Server

from flowvocoder.data.manifest import read_manifest
from flowvocoder.errors import DataError
from recipes import RECIPES, prepare
from recipes.cli import main
from recipes.extract import extract

LJ = next(iter(MINIATURES["ljspeech"].archives.values()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "files").mkdir()
    server = Server(tmp_path / "files")
    yield server
    server.close()


def refused(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error of a command that exits with 2."""
    assert main([str(a) for a in arguments]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith("recipes: ")
    return line


def tar_with(path: Path, kind: bytes, name: str, link: str = "") -> Path:
    """A tar file with one good member and one of another kind."""
    with tarfile.open(path, "w:gz") as archive:
        for member, is_kind in (("good.txt", tarfile.REGTYPE), (name, kind)):
            info = tarfile.TarInfo(member)
            info.type, info.linkname = is_kind, link
            info.size = 4 if is_kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"text"))
    return path


def zip_with(path: Path, name: str, mode: int, text: str = "../text") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", "text")
        info = zipfile.ZipInfo(name)
        info.external_attr = (mode | 0o644) << 16
        archive.writestr(info, text)
    return path


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (tarfile.REGTYPE, "../outside.txt", "outside of the folder"),
        (tarfile.REGTYPE, "a/../../outside.txt", "outside of the folder"),
        (tarfile.REGTYPE, "/tmp/outside.txt", "outside of the folder"),
        (tarfile.DIRTYPE, "../outside", "outside of the folder"),
        (tarfile.SYMTYPE, "a/link", "is a link out of"),
        (tarfile.LNKTYPE, "a/link", "is a link out of"),
        (tarfile.CHRTYPE, "null", "is a device"),
        (tarfile.FIFOTYPE, "pipe", "is a device"),
        (tarfile.REGTYPE, "good.txt", "twice"),
        (tarfile.REGTYPE, "zéro\0byte", "a zero byte in its name"),
    ],
)
def test_hostile_tar(tmp_path: Path, kind: bytes, name: str, words: str) -> None:
    archive = tar_with(tmp_path / "a.tar.gz", kind, name, "../../etc/passwd")
    with pytest.raises(DataError, match=words) as caught:
        extract(archive, tmp_path / "in/to")
    assert str(archive) in str(caught.value) and repr(name) in str(caught.value)
    assert {p.name for p in tmp_path.rglob("*")} <= {"a.tar.gz", "in"}


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("../outside.txt", stat.S_IFREG, "outside of the folder"),
        ("/tmp/outside.txt", stat.S_IFREG, "outside of the folder"),
        ("..\\outside.txt", stat.S_IFREG, "outside of the folder"),
        ("C:/outside.txt", stat.S_IFREG, "outside of the folder"),
        ("link", stat.S_IFLNK, "is a link out of"),
        ("null", stat.S_IFCHR, "is a device"),
        ("good.txt", stat.S_IFREG, "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_zip(tmp_path: Path, name: str, mode: int, words: str) -> None:
    archive = zip_with(tmp_path / "a.zip", name, mode)
    with pytest.raises(DataError, match=words):
        extract(archive, tmp_path / "in/to")
    assert {p.name for p in tmp_path.rglob("*")} <= {"a.zip", "in"}


def test_archives_that_fill_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "sparse.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("a.wav")
        info.type = tarfile.GNUTYPE_SPARSE
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[483:495] = b"77777777777\0"  # the size that it unpacks to
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
        tar.fileobj.write(header)
    with pytest.raises(DataError, match=r"its member 'a\.wav' is a device, not a file"):
        extract(tmp_path / "sparse.tar", tmp_path / "out")
    monkeypatch.setattr("recipes.extract.MOST_MORE", 1_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(5_000_000))
    with pytest.raises(DataError, match="unpacks to more than 100 times its size"):
        extract(tmp_path / "bomb.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_within_are_left_out(tmp_path: Path) -> None:
    archives = [
        tar_with(tmp_path / "a.tar.gz", tarfile.SYMTYPE, "a/link", "../good.txt"),
        tar_with(tmp_path / "b.tar.gz", tarfile.LNKTYPE, "a/link", "good.txt"),
        zip_with(tmp_path / "c.zip", "a/link", stat.S_IFLNK, "../good.txt"),
    ]
    for archive in archives:
        extract(archive, tmp_path / archive.stem)
        assert [p.name for p in (tmp_path / archive.stem).rglob("*") if not p.is_dir()] == ["good.txt"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.bz2"])
@pytest.mark.parametrize("damage", ["half", "tail", "flip", "empty"])
def test_damaged_archives(tmp_path: Path, name: str, damage: str) -> None:
    archive = pack(LJ, tmp_path / name)
    data = bytearray(archive.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0xFF
    archive.write_bytes({"half": data[: len(data) // 2], "tail": data[:-100], "flip": data, "empty": b""}[damage])
    with pytest.raises(DataError, match=f"{name}: is truncated or damaged"):
        extract(archive, tmp_path / "into")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_command_refuses_bad_archives(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    pack(LJ, server.root / "LJSpeech-1.1.tar.bz2")
    out = tmp_path / "out"
    published = RECIPES["ljspeech"].parts[0].archive.checksum.partition(":")[2]
    assert published in refused(["prepare", "ljspeech", out, "--mirror", server.url], capsys)
    damaged = server.root / "jsut_ver1.1.zip"
    damaged.write_bytes(b"PK")
    assert f"{damaged}: is truncated" in refused(["prepare", "jsut", out, "--source", damaged], capsys)
    tar_with(server.root / "dataset-voice-kerstin.tar.gz", tarfile.REGTYPE, "../x")
    assert "'../x' would be written outside" in refused(["prepare", "kerstin", out, "--mirror", server.url], capsys)
    tar_with(server.root / "dataset-voice-kathleen.tar.gz", tarfile.REGTYPE, "other.txt")
    assert "Kathleen (Rhasspy) is not in it" in refused(["prepare", "kathleen", out, "--mirror", server.url], capsys)
    assert not (out / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (b"LJ001-0001|a|b\nLJ001-0002|\xe4\xe4|b\n", "metadata.csv: line 2: not UTF-8 (byte 11 of the line)"),
        (b"LJ001-0001|a|b\nLJ999|a|b\n", "metadata.csv: line 2: no recording"),
        (b"LJ001-0001|a|b\nLJ001-0001|a|b\n", "'LJ001-0001' is there twice"),
        (b"|a|b\n", "metadata.csv: line 1: not a line of LJSpeech-style metadata: '|a|b'"),
        (b"\n", "there is no recording in it"),
    ],
)
def test_bad_metadata(tmp_path: Path, metadata: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = unpacked(LJ, tmp_path / "source")
    (source / "LJSpeech-1.1/metadata.csv").write_bytes(metadata)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.jsonl").write_text("of another day\n")
    assert words in refused(["prepare", "ljspeech", tmp_path / "out", "--source", source], capsys)
    assert (tmp_path / "out/manifest.jsonl").read_text() == "of another day\n"


def test_bad_recordings_stop_or_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = unpacked(LJ, tmp_path / "LJSpeech-1.1")
    wavs, out = source / "LJSpeech-1.1/wavs", tmp_path / "out"
    (wavs / "LJ001-0001.wav").write_bytes(b"RIFF no more")
    (source / "LJSpeech-1.1/metadata.csv").open("a").write("LJ999|a|b\n")
    arguments = ["prepare", "ljspeech", out, "--source", source]
    assert "line 3: no recording" in refused(arguments, capsys)
    assert main([*map(str, arguments), "--skip-bad"]) == 0
    said = capsys.readouterr().out
    assert "line 3: no recording" in said and "LJ001-0001.wav: cannot be read as audio" in said and "2 left out" in said
    assert [e.id for e in read_manifest(out / "manifest.jsonl")] == ["ljspeech/LJ001-0002"]
    (wavs / "LJ001-0002.wav").write_bytes(b"")
    assert "none of the recordings could be read" in refused([*arguments, "--skip-bad"], capsys)
    assert [e.id for e in read_manifest(out / "manifest.jsonl")] == ["ljspeech/LJ001-0002"]


def test_known_gaps_are_named_and_passed_over(tmp_path: Path) -> None:
    source = unpacked(next(iter(MINIATURES["m-ailabs"].archives.values())), tmp_path / "source")
    (source / "de_DE/by_book/male/karlsson/undine/wavs/undine_01_f000002.wav").unlink()
    said: list[str] = []
    made = prepare(RECIPES["m-ailabs"], tmp_path / "out", source=source, say=said.append)
    assert (made.utterances, made.left_out) == (5, 1)
    assert "undine/metadata.csv: line 2: no recording" in said[0]


def test_manifest_that_was_edited_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prepare", "ljspeech", tmp_path / "out", "--source", unpacked(LJ, tmp_path / "source")]
    assert main([str(a) for a in arguments]) == 0
    manifest = tmp_path / "out/manifest.jsonl"
    manifest.write_text(manifest.read_text().splitlines()[0] + "\n")
    capsys.readouterr()
    assert "was changed since it was prepared" in refused(arguments, capsys)
    assert len(list(read_manifest(manifest))) == 1


def test_parts_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tree in MINIATURES["libritts"].archives.values():
        unpacked(tree, tmp_path / "source")
    source, out = tmp_path / "source/LibriTTS", tmp_path / "out"
    assert main(["prepare", "libritts", str(out), "--source", str(source), "--part", "dev-clean"]) == 0
    assert {e.split for e in read_manifest(out / "manifest.jsonl")} == {"validation"}
    arguments = ["prepare", "libritts", out, "--source", source, "--part", "dev-clean", "--part", "train-other-500"]
    assert "(train-other-500) is not in it" in refused(arguments, capsys)
    assert "has no part 'x'; its parts are dev-clean" in refused(["prepare", "libritts", out, "--part", "x"], capsys)
    # A folder of recordings that could be any language is nobody's guess.
    french = unpacked(next(iter(MINIATURES["css10"].archives.values())), tmp_path / "recordings")
    assert "--part NAME says which" in refused(["prepare", "css10", out, "--source", french], capsys)
    assert main(["prepare", "css10", str(tmp_path / "fr"), "--source", str(french), "--part", "fr"]) == 0
    assert {(e.language, e.speaker) for e in read_manifest(tmp_path / "fr/manifest.jsonl")} == {("fr", "css10-fr")}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed and main(["show", name]) == 0 for name in MINIATURES)
    (tmp_path / "file").write_text("")
    source = unpacked(LJ, tmp_path / "source")
    for out in (tmp_path / "file", tmp_path / "file/out"):
        capsys.readouterr()
        assert str(out) in refused(["prepare", "ljspeech", out, "--source", source], capsys)
    out = tmp_path / "out"
    assert "no such file or folder" in refused(["prepare", "jsut", out, "--source", tmp_path / "no"], capsys)
    assert not out.exists(), "a mistaken source leaves no empty folder"
    for arguments, words in (
        (["prepare", "nope", "x"], "no corpus named 'nope': there are cmu-arctic"),
        (["prepare", "folder", "x"], "need --source"),
        (["prepare", "folder", "x", "--source", source, "--part", "a"], "--part is not for your own recordings"),
        (["prepare", "jsut", "x", "--speaker-folders"], "--speaker-folders is not for published corpora"),
    ):
        assert words in refused(arguments, capsys)
    for arguments in (["prepare", "jsut", "x", "--jobs", "0"], ["show"], []):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_order_of_words_of_the_last_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "jsut"]) == 0
    shown = capsys.readouterr()
    assert main(["jsut", "show"]) == 0
    assert capsys.readouterr().out == shown.out and not shown.err
    assert main(["jsut", "prepare", "out", "--language", "de"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "jsut prepare is now prepare jsut" in said[0] and len(said) == 2


def test_download_alone(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    pack(next(iter(MINIATURES["jsut"].archives.values())), server.root / "jsut_ver1.1.zip")
    out = tmp_path / "out"
    for _ in range(2):
        assert main(["download", "jsut", str(out), "--mirror", server.url]) == 0
        folder = capsys.readouterr().out.splitlines()[-2]
        assert next(Path(folder).rglob("*.wav")).is_relative_to(out / "corpus")
    assert len(server.requests) == 1 and not (out / "manifest.jsonl").exists()
    assert "nothing to download" in refused(["download", "folder", out], capsys)


@pytest.mark.slow
def test_interrupt_keeps_what_came(tmp_path: Path, server: Server) -> None:
    server.faults = ["hang"]
    archive = server.root / "jsut_ver1.1.zip"
    pack(next(iter(MINIATURES["jsut"].archives.values())), archive)
    command = [sys.executable, "-m", "recipes", "prepare", "jsut", str(tmp_path / "out"), "--mirror", server.url]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    # Also where the tests were started in the background, which makes their children deaf to SIGINT.
    hears = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=hears)
    partial = tmp_path / "out/downloads/jsut_ver1.1.zip.part"
    deadline = time.monotonic() + 300
    while not server.requests or not partial.exists():
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    error = running.communicate(timeout=180)[1]
    assert (running.returncode, error) == (130, "interrupted; the same command continues from here\n")
    assert main(["prepare", "jsut", str(tmp_path / "out"), "--mirror", server.url]) == 0
    assert content("jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav", 48000) == next(
        (tmp_path / "out/corpus").rglob("BASIC*.wav")
    ).read_bytes()  # fmt: skip
