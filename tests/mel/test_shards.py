"""Shards of mels in, shards of recordings out: the bytes of each are those of its mel alone."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from command import refused, run
from helpers import speech_like

from flowvocoder.errors import MelError
from flowvocoder.mel import shards
from flowvocoder.mel.files import npy_bytes, write_mel
from flowvocoder.mel.shards import speak_shard
from flowvocoder.mel.spec import MelSpec, convention
from flowvocoder.mel.thrift import Thrift
from flowvocoder.vocoder import Vocoder

pytestmark = pytest.mark.slow

BAD = npy_bytes(np.zeros(3))


@pytest.fixture(scope="module")
def mels(small_voice: Path) -> list[np.ndarray]:
    mel = Vocoder.from_pretrained(small_voice).mel_for(speech_like(0.7, 22050))[0].numpy()
    return [mel[:, :30], mel[:, 10:]]


def tar(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def parquet(path: Path, **columns: list[object]) -> Path:
    arrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    written.write_table(arrow.table(columns), path)
    return path


def test_recordings_of_a_shard_are_those_of_its_mels(
    mels: list[np.ndarray], small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every kind of shard; a mel that is none is named and left out; what is there is not done again."""
    content = [npy_bytes(mel) for mel in mels]
    given = tmp_path / "in"
    given.mkdir()
    tar(given / "t.tar", a_npy=content[0], a_json=b"{}", bad_npy=BAD, b_mel_npy=content[1])
    parquet(given / "lists.parquet", id=["a", "b"], mel=[mel.tolist() for mel in mels])
    parquet(given / "files.parquet", id=["a", "bad", "b"], mel=[content[0], BAD, content[1]])
    alone = []
    for number, mel in enumerate(mels):
        np.save(tmp_path / f"{number}.npy", mel)
        assert run("synth", tmp_path / f"{number}.npy", tmp_path / f"{number}.wav", "--checkpoint", small_voice) == 0
        alone.append((tmp_path / f"{number}.wav").read_bytes())
    capsys.readouterr()
    assert run("synth", given, tmp_path / "out", "--checkpoint", small_voice) == 2
    said = capsys.readouterr()
    assert "1 written" in said.out and "2 refused" in said.out
    assert "1 of 3 mels are not in" in said.err and "t.tar/bad.npy: has shape (3,), expected (80, frames)" in said.err
    assert "files.parquet/row 1: has shape (3,)" in said.err
    with tarfile.open(tmp_path / "out/t.tar") as archive:
        assert archive.getnames() == ["a.wav", "b.mel.wav"]
        assert [archive.extractfile(info).read() for info in archive] == alone  # type: ignore[union-attr]
    for name in ("lists", "files"):
        table = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / f"out/{name}.parquet").to_pydict()
        assert table["id"] == ["a", "b"] and [audio["bytes"] for audio in table["audio"]] == alone
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert run("synth", given, tmp_path / "out", "--checkpoint", small_voice) == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}


def test_a_spec_beside_a_shard_holds_for_its_mels(
    mels: list[np.ndarray], small_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tar(tmp_path / "t.tar", a_npy=npy_bytes(mels[0]))
    write_mel(tmp_path / "t.tar.npy", mels[0], MelSpec(sample_rate=24000))
    (tmp_path / "t.tar.npy.json").rename(tmp_path / "t.tar.json")
    assert "a custom mel does not fit" in refused(
        capsys, "synth", path, tmp_path / "o.tar", "--checkpoint", small_voice
    )
    assert not (tmp_path / "o.tar").exists()
    write_mel(tmp_path / "t.tar.npy", mels[0], convention("tacotron2"))
    (tmp_path / "t.tar.npy.json").rename(tmp_path / "t.tar.json")
    assert run("synth", path, tmp_path / "o.tar", "--checkpoint", small_voice) == 0
    wrong = refused(capsys, "synth", path, tmp_path / "o.wav", "--checkpoint", small_voice)
    assert "the output's name must end in .tar" in wrong


@pytest.mark.parametrize(
    ("name", "said"),
    [("../a_npy", "is outside of any folder"), ("/a_npy", "is outside of any folder"), ("a_txt", "holds no mels"),
     ("bad_npy", "expected"), ("big_npy", "50000000 are read")],
)  # fmt: skip
def test_nothing_is_written_where_nothing_can_be_spoken(name: str, said: str, tmp_path: Path) -> None:
    huge = npy_bytes(np.zeros((1, 1))).replace(b"(1, 1)", b"(9, 9999999999)")[:128]
    content = {"bad_npy": b"no mel", "big_npy": huge}.get(name, npy_bytes(np.zeros((80, 9))))
    with pytest.raises(MelError, match=said):
        speak_shard(tar(tmp_path / "t.tar", **{name: content}), tmp_path / "o.tar", lambda mel, where: b"")
    assert [path.name for path in tmp_path.iterdir()] == ["t.tar"]


def test_a_tar_file_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    whole = tar(tmp_path / "t.tar", a_npy=npy_bytes(np.zeros((80, 99)))).read_bytes()
    (tmp_path / "t.tar").write_bytes(whole[:2000])
    with pytest.raises(MelError, match="claims 31808 bytes, there are 1488"):
        speak_shard(tmp_path / "t.tar", tmp_path / "o.tar", lambda mel, where: b"")
    info = tarfile.TarInfo("x" * 200_000 + ".npy")  # in a header of its own, which is read at once
    (tmp_path / "t.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(MelError, match="a header of 200005 bytes"):
        speak_shard(tmp_path / "t.tar", tmp_path / "o.tar", lambda mel, where: b"")


def test_parquet_files_of_other_things_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**columns: list[object]) -> str:
        with pytest.raises(MelError) as error:
            speak_shard(parquet(tmp_path / "t.parquet", **columns), tmp_path / "o.parquet", lambda mel, where: b"")
        return str(error.value)

    assert "expected a column 'mel' of lists of lists of numbers" in said(mel=[1.0, 2.0], id=["a", "b"])
    assert "row 0: no list of lists of numbers, all as long" in said(mel=[[[1.0, 2.0], [3.0]]])
    assert "has a column 'audio' already" in said(mel=[[[1.0]]], audio=["a"])
    arrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    twice = arrow.table([arrow.array([[[1.0]]])] * 2, names=["mel", "mel"])
    written.write_table(twice, tmp_path / "u.parquet")
    with pytest.raises(MelError, match="there are mel, mel"):
        speak_shard(tmp_path / "u.parquet", tmp_path / "o.parquet", lambda mel, where: b"")
    (tmp_path / "u.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(MelError, match="not a Parquet file"):
        speak_shard(tmp_path / "u.parquet", tmp_path / "o.parquet", lambda mel, where: b"")
    monkeypatch.setattr(shards, "MOST_IN_GROUP", 50)
    assert "row group 0 claims 60 values" in said(mel=[[[1.0] * 30, [2.0] * 30]])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(("o", "."))] == []


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_are_what_the_footer_says(version: str, tmp_path: Path) -> None:
    """Whatever writes them, with and without a dictionary; and those that unpack to more are not unpacked."""
    arrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from tests.abuse.parquets import lying  # which needs the library, too

    table = arrow.table({"mel": [[[0.5 * n] * 9] * 80 for n in range(300)], "text": ["a" * n for n in range(300)]})
    for compression, dictionary in (("zstd", True), ("none", False)):
        written.write_table(table, tmp_path / "t.parquet", compression=compression, use_dictionary=dictionary,
                            data_page_version=version, data_page_size=999, row_group_size=99)  # fmt: skip
        assert speak_shard(tmp_path / "t.parquet", tmp_path / "o.parquet", lambda mel, where: b"x").written == 300
    (tmp_path / "t.parquet").write_bytes(lying(3_000_000, 1000))
    with pytest.raises(MelError, match=r"pages of 1 values in 30000\d\d bytes where its footer claims 1 in 1000"):
        speak_shard(tmp_path / "t.parquet", tmp_path / "o.parquet", lambda mel, where: b"x")


def test_a_footer_is_read_as_its_library_reads_it(tmp_path: Path) -> None:
    arrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {f"c{n}": list(range(40)) for n in range(20)}
    table = arrow.table({"mel": [[[0.5] * n] * 3 for n in range(40)], **columns})
    written.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    content, about = (tmp_path / "t.parquet").read_bytes(), written.read_metadata(tmp_path / "t.parquet")
    groups = Thrift(content[-8 - int.from_bytes(content[-8:-4], "little") : -8]).struct()[4]
    claims = [(chunk[3][5], chunk[3][6]) for group in groups for chunk in group[1]]
    chunks = [about.row_group(n).column(c) for n in range(20) for c in range(21)]
    assert claims == [(chunk.num_values, chunk.total_uncompressed_size) for chunk in chunks]
    with pytest.raises(LookupError):
        Thrift(b"\x18\x7f").struct()
