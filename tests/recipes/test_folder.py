"""Anybody's own recordings: trees, LJSpeech's layout, Kaldi folders, NVIDIA's file lists; and the facts themselves."""

import os
import re
from pathlib import Path

import pytest
from recipe_miniatures import MINIATURES, unpacked

from flowvocoder.data.manifest import Entry, read_manifest
from flowvocoder.errors import DataError
from recipes import RECIPES, own, prepare
from recipes.cli import main

RATE = 16000


def prepared(source: Path, *options: str) -> dict[str, Entry]:
    """What the command makes of `source`, by id."""
    out = source.parent / "out"
    assert main(["prepare", "folder", str(out), "--source", str(source), *options]) == 0
    return {e.id: e for e in read_manifest(out / "manifest.jsonl")}


def refusal(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare(own(source), source.parent / "out", source=source)
    return str(caught.value)


def test_tree(tmp_path: Path) -> None:
    files = {"anna/1.wav": RATE, "anna/deep/1.flac": 22050, "ben/1.ogg": RATE, ".hidden/1.wav": RATE, "notes.txt": "no"}
    source = unpacked(files, tmp_path / "voices")
    made = prepared(source, "--language", "de")
    assert set(made) == {"voices/anna/1", "voices/anna/deep/1", "voices/ben/1"}
    assert {(e.speaker, e.language, e.text) for e in made.values()} == {("voices", "de", None)}
    assert made["voices/anna/deep/1"].rate == 22050
    by_folder = prepared(source, "--speaker-folders")
    assert {i: e.speaker for i, e in by_folder.items()} == {
        "voices/anna/1": "anna", "voices/anna/deep/1": "anna", "voices/ben/1": "ben"
    }  # fmt: skip
    assert {e.speaker for e in prepared(source, "--speaker", "me").values()} == {"me"}


def test_pipes_and_devices_are_no_recordings(tmp_path: Path) -> None:
    source = unpacked({"1.wav": RATE}, tmp_path / "voices")
    os.mkfifo(source / "pipe.wav")
    (source / "zero.wav").symlink_to("/dev/zero")
    assert set(prepared(source)) == {"voices/1"}


def test_recordings_that_do_not_say_their_length_are_counted(tmp_path: Path) -> None:
    source = unpacked({"1.flac": RATE}, tmp_path / "voices")
    expected = prepared(source)["voices/1"].duration
    content = bytearray((source / "1.flac").read_bytes())
    content[21] &= 0xF0  # the 36-bit count of samples in STREAMINFO, 0 where a pipe was written to
    content[22:26] = bytes(4)
    (source / "1.flac").write_bytes(content)
    assert prepared(source)["voices/1"].duration == expected


def test_metadata_in_each_speakers_folder(tmp_path: Path) -> None:
    """The same names for two speakers, as in a folder of several voices."""
    files = {f"{who}/{path}": value for who in ("kathleen", "kerstin")
             for path, value in {"metadata.csv": "a.b|Text.\n", "wavs/a.b.flac": RATE}.items()}  # fmt: skip
    made = prepared(unpacked(files, tmp_path / "corpora"))
    assert {(i, e.speaker, e.text) for i, e in made.items()} == {
        ("corpora/kathleen/a.b", "kathleen", "Text."), ("corpora/kerstin/a.b", "kerstin", "Text.")
    }  # fmt: skip


def test_kaldi_recordings(tmp_path: Path) -> None:
    source = unpacked(
        {
            "train/wav.scp": f"u1 ../audio/1.wav\nu2 {tmp_path}/data/audio/2.wav\n",
            "train/utt2spk": "u1 anna\nu2 ben\n",
            "train/text": "u1 ONE WORD\nu2\n",
            "dev/wav.scp": "u3 ../audio/3.wav\n",
            **{f"audio/{n}.wav": RATE for n in (1, 2, 3)},
        },
        tmp_path / "data",
    )
    made = prepared(source)
    assert {i: (e.speaker, e.text, e.split) for i, e in made.items()} == {
        "data/u1": ("anna", "ONE WORD", "train"),
        "data/u2": ("ben", None, "train"),
        "data/u3": ("data", None, "validation"),
    }


def test_kaldi_segments(tmp_path: Path) -> None:
    files = {"wav.scp": "r1 long.wav\n", "utt2spk": "u1 anna\n", "long.wav": RATE,
             "segments": "u1 r1 0.0 0.02\nu2 r1 0.02 0.0504\nu3 r1 0.03 -1\n"}  # fmt: skip
    source = unpacked(files, tmp_path / "data")
    made = prepared(source)
    places = {i: (e.path, e.start, e.duration) for i, e in made.items()}
    audio = "../data/long.wav"
    # 0.05 s are 800 samples; a segment that ends less than 0.1 s behind the recording is taken to end with it.
    assert places == {"data/u1": (audio, 0, 320), "data/u2": (audio, 320, 480), "data/u3": (audio, 480, 320)}
    for segments, words in (
        ("u1 r9 0 1\n", "segments: line 1: recording 'r9' is not in"),
        ("u1 r1 0 0.02\nu2 r1 0.03 0.02\n", "segments: line 2: a segment from 0.03 to 0.02"),
        ("u1 r1 zero 1\n", "segments: line 1: 'zero' is no time"),
        ("u1 r1 0\n", "segments: line 1: expected UTTERANCE RECORDING START END"),
        ("u1 r1 0 5\n", "long.wav: utterance 'u1' would be from sample 0 to 80000 of 800"),
    ):
        (source / "segments").write_text(segments)
        assert words in refusal(source)


def test_kaldi_refuses_commands_and_missing_files(tmp_path: Path) -> None:
    source = unpacked({"wav.scp": "u1 sox 1.wav -t wav - |\n"}, tmp_path / "data")
    assert "wav.scp: line 1: 'sox 1.wav -t wav - |' is a command" in refusal(source)
    (source / "wav.scp").write_text("u1 1.wav\n")
    assert "wav.scp: line 1: no recording" in refusal(source)


def test_nvidia_file_lists(tmp_path: Path) -> None:
    files = {
        "filelists/ljs_audio_text_train_filelist.txt": "DUMMY/LJ001.wav|Some text.\nwavs/LJ002|Two.|17\n",
        "filelists/ljs_audio_text_val_filelist.txt": "DUMMY/LJ003.wav|Three.\n",
        "wavs/LJ002.wav": RATE, "LJ001.wav": RATE, "LJ003.wav": RATE,
    }  # fmt: skip
    source = unpacked(files, tmp_path / "lists")
    assert {i: (e.speaker, e.text, e.split) for i, e in prepared(source).items()} == {
        "lists/DUMMY/LJ001": ("lists", "Some text.", "train"),
        "lists/wavs/LJ002": ("17", "Two.", "train"),
        "lists/DUMMY/LJ003": ("lists", "Three.", "validation"),
    }
    one = prepared(source / "filelists/ljs_audio_text_val_filelist.txt")
    assert [(i, e.split) for i, e in one.items()] == [("ljs_audio_text_val_filelist/DUMMY/LJ003", "validation")]


def test_options_and_new_recordings_are_work(tmp_path: Path) -> None:
    source, out = unpacked({"1.wav": RATE}, tmp_path / "mine"), tmp_path / "out"
    assert prepare(own(source), out, source=source).fresh
    assert not prepare(own(source), out, source=source).fresh
    assert prepare(own(source, "de"), out, source=source).fresh
    unpacked({"2.wav": RATE}, source)
    assert prepare(own(source, "de"), out, source=source).utterances == 2


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "your own recordings is not in it: looked for Kaldi data folder; NVIDIA" in refusal(tmp_path / "empty")


def test_facts() -> None:
    """What a wrong digit or a forgotten line in a file of facts would break."""
    assert set(MINIATURES) | {"folder"} == set(RECIPES)
    for recipe in RECIPES.values():
        names = [part.name for part in recipe.parts]
        assert len(set(names)) == len(names) and set(recipe.default) <= set(names)
        for part in recipe.parts:
            assert part.layouts or recipe.layouts
            if part.archive:
                assert re.fullmatch(r"https?://[^ ]+", part.archive.url)
                assert part.archive.file.endswith((".zip", ".tgz", ".tar.gz", ".tar.bz2"))
                assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", part.archive.checksum or "md5:" + "0" * 32)
        stems = {part.archive.stem: part.archive for part in recipe.parts if part.archive}
        assert len(stems) == len({part.archive for part in recipe.parts if part.archive})
