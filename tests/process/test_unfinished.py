"""Files and folders while they are made, and what killed processes leave."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowvocoder.files import recover_folder, writing, writing_folder
from flowvocoder.unfinished import alone, is_being_written, scratch, unfinished

KILLED = """
import os, signal, sys
from pathlib import Path
from flowvocoder.files import writing, writing_folder
with {how}(Path(sys.argv[1])) as temporary:
    (temporary / "half" if temporary.is_dir() else temporary).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_one(path: Path, how: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED.format(how=how), str(path)], check=False, timeout=60)


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


@pytest.mark.parametrize("how", ["writing", "writing_folder"])
def test_the_next_writing_removes_what_a_killed_process_left(how: str, tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    leave_one(path, how)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.") and not is_being_written(path)
    with (writing if how == "writing" else writing_folder)(path) as temporary:
        assert left == temporary and not (temporary.is_dir() and list(temporary.iterdir()))
    assert names(tmp_path) == {"out.wav"}


def test_what_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with writing(path) as first:
        first.write_text("first")
        assert is_being_written(path)
        with writing(path) as second:
            second.write_text("second")
        assert first.read_text() == "first" and path.read_text() == "second"
    assert path.read_text() == "first" and names(tmp_path) == {"out.txt"} and not is_being_written(path)


def test_what_another_begins_after_a_rename_is_left_alone(tmp_path: Path) -> None:
    with unfinished(tmp_path / "out.txt") as temporary:
        temporary.replace(tmp_path / "out.txt")
        temporary.write_text("another's")
    assert temporary.read_text() == "another's"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "out.txt"
    precious.write_text("precious")
    (tmp_path / ".out.0.unfinished.txt").symlink_to(precious)
    with writing(path) as temporary:
        temporary.write_text("new")
    assert precious.read_text() == "precious" and path.read_text() == "new"


@pytest.mark.parametrize("stem", ["x" * 250, "é" * 120, "音" * 80, "."])
def test_names_as_long_as_they_may_be(stem: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.wav"
    with writing(path) as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == {path.name}


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".voice.old").mkdir()
    (tmp_path / ".voice.old/weights").write_text("old")
    recover_folder(tmp_path / "voice")
    assert (tmp_path / "voice/weights").read_text() == "old" and names(tmp_path) == {"voice"}


def test_a_scratch_folder_of_a_living_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "flowvocoder-it-dead").mkdir()
    with scratch("it") as first, scratch("it") as second:
        assert names(tmp_path) == {first.name, second.name}
        assert first.stat().st_mode & 0o077 == 0, "only its owner may look"
    assert names(tmp_path) == set()


def test_scratch_folders_begun_together_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def use(_: int) -> None:
        with scratch("it") as folder:
            (folder / "file").write_text("mine")
            assert (folder / "file").read_text() == "mine"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(400)))
    assert names(tmp_path) == set()


def test_alone_is_alone(tmp_path: Path) -> None:
    place, inside, together = tmp_path / "place", [0], []
    place.touch()

    def enter(_: int) -> None:
        with alone(place):
            inside[0] += 1
            time.sleep(0.01)
            together.append(inside[0])
            inside[0] -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(8)))
    assert together == [1] * 8
