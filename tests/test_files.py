"""What is in a folder."""

import os
from pathlib import Path

from flowvocoder.anomaly.examples import Corpus
from flowvocoder.cli.bulk import find_files
from flowvocoder.data.corpus import find_utterances
from flowvocoder.density.sets import data_set
from flowvocoder.files import files_below


def test_links_are_followed_once_and_hidden_files_left_out(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for file in ("root/b.wav", "root/.b.wav", "root/.git/c.wav", "root/z/d.wav", "root/notes.txt", "elsewhere/e/f.WAV"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (root / "wavs").symlink_to(elsewhere)
    (root / "gone.wav").symlink_to(tmp_path / "nothing")
    (root / "round.wav").symlink_to(root / "round.wav")
    os.mkfifo(root / "pipe.wav")
    for loop, target in ((root / "again", root), (elsewhere / "up", root), (elsewhere / "f", elsewhere / "e")):
        loop.symlink_to(target)
    (root / "a").symlink_to(root / "z")  # the name without a link counts, though it comes later
    names = [path.relative_to(root).as_posix() for path in files_below(root, (".wav",))]
    assert names == ["b.wav", "wavs/e/f.WAV", "z/d.wav"]
    assert [path.name for path in files_below(root)] == ["b.wav", "notes.txt", "f.WAV", "d.wav"]


def test_every_reader_of_recordings_finds_those_of_a_linked_folder(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/wavs").symlink_to(corpus / "wavs")
    wanted = sorted((tmp_path / "linked/wavs" / path.name for path in (corpus / "wavs").iterdir()), key=str)
    assert wanted == find_files([str(tmp_path / "linked")], (".wav", ".flac"))
    assert wanted == [utterance.path for utterance in find_utterances(tmp_path / "linked")]
    assert Corpus.of([tmp_path / "linked"]).speakers == (tuple(wanted),)
    assert len(data_set(f"mel:{tmp_path / 'linked'}").test) == len(data_set(f"mel:{corpus}").test) > 0
