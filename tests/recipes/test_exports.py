"""Manifests to Kaldi and Lhotse and back, and what these toolkits themselves read."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import make_corpus

from flowvocoder.cli.main import main
from flowvocoder.data.manifest import Entry, read_manifest, write_manifest
from flowvocoder.errors import DataError
from recipes import own, prepare

FILE = {"sources": [{"type": "file", "source": "a.wav"}]}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three recordings, one of them in two stretches, one held out."""
    root = make_corpus(tmp_path / "toy", 3, 0.5)
    assert main(["corpus", "prepare", "folder", str(root), "--source", str(root), "--speaker", "anna"]) == 0
    first, second, third = read_manifest(root / "manifest.jsonl")
    values = {name: getattr(first, name) for name in Entry.__slots__}
    halves = [Entry(**{**values, "id": f"toy/{n}", "start": 5000 * n, "duration": 5000}) for n in range(2)]
    held_out = Entry(**{**{name: getattr(third, name) for name in Entry.__slots__}, "split": "validation"})
    write_manifest(root / "manifest.jsonl", [*halves, second, held_out])
    return root / "manifest.jsonl"


def said(manifest: Path) -> set[tuple[str, str, int, int, str, str | None, str]]:
    return {
        (
            e.id.rpartition("/")[2],
            str(e.audio_file(manifest.parent).resolve()),
            e.start,
            e.duration,
            e.speaker,
            e.text,
            e.split,
        )
        for e in read_manifest(manifest)
    }


@pytest.mark.parametrize("name", ["kaldi", "cuts_train.jsonl.gz"])
def test_there_and_back(manifest: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    assert main(["corpus", "export", str(manifest.parent), str(out)]) == 0
    again = prepare(own(out), tmp_path / "again", source=out).manifest
    assert said(again) == said(manifest)


def altered(manifest: Path, **values: str) -> None:
    entries = ({n: getattr(entry, n) for n in Entry.__slots__} for entry in list(read_manifest(manifest)))
    write_manifest(manifest, [Entry(**{**entry, **values}) for entry in entries])


def test_cuts_keep_their_language(manifest: Path, tmp_path: Path) -> None:
    altered(manifest, language="gd")
    out = tmp_path / "cuts.jsonl.gz"
    assert main(["corpus", "export", str(manifest), str(out)]) == 0
    again = prepare(own(out, "de"), tmp_path / "again", source=out).manifest
    assert {entry.language for entry in read_manifest(again)} == {"gd"}


def test_recordings_whose_names_differ_by_a_space_stay_apart(manifest: Path, tmp_path: Path) -> None:
    first = next(iter(read_manifest(manifest)))
    values = {name: getattr(first, name) for name in Entry.__slots__}
    names = ("a b.flac", "a_b.flac", "a%20b.flac", "a\u00a0b.flac")
    write_manifest(manifest, [Entry(**{**values, "id": f"toy/{n}", "path": name}) for n, name in enumerate(names)])
    assert main(["corpus", "export", str(manifest), str(tmp_path / "kaldi")]) == 0
    lines = (tmp_path / "kaldi" / first.split / "wav.scp").read_text(encoding="utf-8").splitlines()
    assert {Path(line.split(" ", 1)[1]).name for line in lines} == set(names)


def test_lhotse_and_kaldiio_read_what_is_written(manifest: Path, tmp_path: Path) -> None:
    lhotse, kaldiio = pytest.importorskip("lhotse"), pytest.importorskip("kaldiio")
    for name in ("cuts.jsonl.gz", "kaldi"):
        assert main(["corpus", "export", str(manifest), str(tmp_path / name)]) == 0
    cuts = lhotse.CutSet.from_file(tmp_path / "cuts.jsonl.gz").to_eager()
    assert [c.id for c in cuts] == [e.id for e in read_manifest(manifest)]
    assert all(c.load_audio().shape == (1, c.num_samples) for c in cuts) and cuts[0].supervisions[0].speaker == "anna"
    recordings = kaldiio.load_scp(
        str(tmp_path / "kaldi" / "train" / "wav.scp"), segments=str(tmp_path / "kaldi" / "train" / "segments")
    )
    assert len(recordings["toy/1"][1]) == 5000


def test_mels_of_kaldi_become_files_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaldiio = pytest.importorskip("kaldiio")
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "prepare.md").read_text(encoding="utf-8")
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "kaldiio" in block)
    monkeypatch.chdir(tmp_path)
    mel = np.random.default_rng(0).standard_normal((5, 80)).astype(np.float32)
    kaldiio.save_ark("feats.ark", {"a": mel}, scp="feats.scp")
    exec(block, {})
    assert np.array_equal(np.load("mels/a.npy"), mel.T)


def test_cuts_of_other_kinds_are_refused_by_line(tmp_path: Path) -> None:
    cut = {
        "id": "a",
        "type": "MonoCut",
        "start": 0,
        "duration": 1,
        "recording": {"sources": [{"type": "command", "source": "cat x"}]},
    }
    for changed, problem in (
        ({}, "comes from a command"), ({"type": "MixedCut"}, "is a MixedCut"),
        ({"recording": 3}, "no cut of one recording"), ({"recording": {"sources": []}}, "no cut of one recording"),
        ({"duration": float("inf"), "recording": FILE}, "holds nothing"),
        ({"recording": {"sources": [{"type": "file", "source": ""}]}}, "no cut of one recording"),
    ):  # fmt: skip
        source = tmp_path / "cuts.jsonl.gz"
        source.write_bytes(gzip.compress(json.dumps({**cut, **changed}).encode()))
        with pytest.raises(DataError, match=f"line 1: .*{problem}"):
            prepare(own(source), tmp_path / "out", source=source)
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(DataError, match="is damaged"):
        prepare(own(source), tmp_path / "out", source=source)
