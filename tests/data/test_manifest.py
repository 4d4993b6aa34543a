"""Manifests: what is written is read, what is wrong is named with its line."""

import json
import tracemalloc
from pathlib import Path

import pytest

from flowvocoder.data.manifest import Entry, read_manifest, write_manifest
from flowvocoder.data.splits import choose_split, is_held_out, unseen_speakers
from flowvocoder.errors import DataError


def entry(index: int = 0, **changes: object) -> Entry:
    values = {
        "id": f"toy/utt{index:03d}", "path": f"wavs/utt{index:03d}.flac", "duration": 16000 + index, "rate": 16000,
        "speaker": "a", "language": "en", "sha256": f"{index:064x}", "split": "train", **changes,
    }  # fmt: skip
    return Entry(**values)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    entries = [entry(0), entry(1, text="Grüße, \u2028 世界", start=5, mel="mels/1.npy", split="unseen")]
    path = tmp_path / "deep" / "m.jsonl"
    assert write_manifest(path, iter(entries)) == 2
    assert list(read_manifest(path)) == entries
    assert len(path.read_bytes().splitlines()) == 2
    assert entries[1].mel_file(path.parent) == tmp_path / "deep/mels/1.npy"


def line(**changes: object) -> bytes:
    values = {**json.loads(entry(9).to_json()), **changes}
    return json.dumps({k: v for k, v in values.items() if v != "DROP"}).encode()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"{", "line 3: not JSON"),
        (b"[1]", "line 3: not a JSON object"),
        (line(rate="DROP", path="DROP"), "line 3: no path, rate"),
        (line(durration=3), "line 3: unknown field 'durration'"),
        (line(duration="3"), 'line 3: duration must be a whole number, not "3"'),
        (line(duration=True), "line 3: duration must be a whole number, not true"),
        (line(duration=1.5), "line 3: duration must be a whole number, not 1.5"),
        (line(duration=0), "line 3: duration must be 1 or more samples, not 0"),
        (line(start=-1), "line 3: start must be 0 or more samples, not -1"),
        (line(text=5), "line 3: text must be a string or null, not 5"),
        (line(split="dev"), "line 3: split must be one of train, validation, test, unseen, not 'dev'"),
        (line(sha256="abc"), "line 3: sha256 must be 64 hexadecimal digits"),
        (line(path="a\0b"), "line 3: path or mel is empty or holds a zero byte"),
        (line(id="toy/utt001"), "line 3: id 'toy/utt001' comes a second time"),
        (line(text="x").replace(b'"x"', b'"\xff"'), "line 3: not UTF-8"),
        (b'{"id": ' + b"[" * 100_000, "line 3: not JSON"),
    ],
)
def test_a_bad_line_is_one_sentence_with_its_number(bad: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + entry(1).to_json().encode() + b"\n\n" + bad + b"\n")
    with pytest.raises(DataError) as caught:
        list(read_manifest(path))
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "m.jsonl", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            list(read_manifest(path))


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    for wrong, message in ((entry(0), "line 2: id 'toy/utt000' comes"), (entry(1, path="\udcff"), "no UTF-8 text")):
        with pytest.raises(DataError, match=message):
            write_manifest(tmp_path / "m.jsonl", [entry(0), wrong])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_reading_streams(tmp_path: Path) -> None:
    path, lines = tmp_path / "m.jsonl", 5_000
    long = "word " * 200
    assert write_manifest(path, (entry(i, text=long) for i in range(lines))) == lines
    tracemalloc.start()
    assert sum(e.duration for e in read_manifest(path)) == sum(range(16000, 16000 + lines))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 5e6
    assert peak < 1e6


def test_splits_are_by_hash() -> None:
    ids = [f"toy/{i}" for i in range(4000)]
    splits = [choose_split(i, "a") for i in ids]
    assert {s == "validation" for s, i in zip(splits, ids, strict=True) if is_held_out(i)} == {True}
    assert 60 < splits.count("validation") < 140 and splits.count("train") == 4000 - splits.count("validation")


def test_unseen_speakers_are_whole_speakers() -> None:
    speakers = frozenset(f"speaker{i}" for i in range(200))
    unseen = unseen_speakers(speakers)
    assert 3 <= len(unseen) <= 20
    for speaker in speakers:
        splits = {choose_split(f"toy/{speaker}/{i}", speaker, speakers) for i in range(200)}
        assert splits == {"unseen"} if speaker in unseen else "unseen" not in splits
    assert len(unseen_speakers(frozenset("abc"))) == 1
    assert unseen_speakers(frozenset("ab")) == frozenset()


def test_a_duplicate_is_found_however_far_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowvocoder.data.manifest.RECENT", 50)
    path = tmp_path / "m.jsonl"
    assert write_manifest(path, (entry(i) for i in range(1000))) == 1000
    assert len(list(read_manifest(path))) == 1000
    for index in (0, 333, 999):
        with path.open("a") as file:
            file.write(entry(index).to_json() + "\n")
        with pytest.raises(DataError, match=f"line 1001: id 'toy/utt{index:03d}' comes a second time"):
            list(read_manifest(path))
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:1000]))
