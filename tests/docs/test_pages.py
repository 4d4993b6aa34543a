"""What the pages say can be done: their commands parse, their Python runs, their links lead somewhere."""

import contextlib
import functools
import io
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
import torch

import flowvocoder
from flowvocoder.cli.main import main, parser
from flowvocoder.config import override
from flowvocoder.presets import DEFAULT_PRESET, PRESETS, preset
from recipes.cli import parser as recipes_parser

ROOT = Path(__file__).parents[2]
PEOPLE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "recipes/README.md")]
PAGES = [page for page in (*PEOPLE, *sorted((ROOT / "docs").rglob("*.md"))) if page.exists()]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
RUNNABLE = ("README.md", "docs/tutorials/library.md", "docs/how-to/stream.md", "docs/how-to/posterior.md")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(text: str) -> Iterator[list[str]]:
    """Every flowvocoder or recipes command of a shell block, as its words."""
    for line in text.replace("\\\n", " ").splitlines():
        # Shell words, so that # in quotes stays; a command ends at | && ; < or >.
        words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if not set(word) <= set("|&;<>"):
                command.append(word)
                continue
            yield from called(command)
            command = []


def called(words: list[str]) -> Iterator[list[str]]:
    """What follows `flowvocoder`, `-m flowvocoder` or `-m recipes`, with that name first."""
    for name in ("flowvocoder", "recipes"):
        for place, word in enumerate(words):
            started = place == 0 or words[place - 1] == "-m"
            if started and Path(word).name == name and "/" not in word.removeprefix(".venv/bin/"):
                yield [name, *words[place + 1 :]]
                return


PARSERS = {"flowvocoder": functools.cache(parser), "recipes": functools.cache(recipes_parser)}
"""To make one takes as long as a hundred commands."""

CALLS = [(page, call) for page in PAGES for block in blocks(page, "sh") for call in commands(block)]


@pytest.mark.parametrize(("page", "words"), CALLS, ids=lambda v: " ".join(v) if isinstance(v, list) else v.name)
def test_commands_of_the_pages_parse_and_use_no_old_name(page: Path, words: list[str]) -> None:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("error")  # an old name
        try:
            arguments = PARSERS[words[0]]().parse_args(words[1:])
        except SystemExit:
            pytest.fail(f"{page.relative_to(ROOT)}: {' '.join(words)}: {said.getvalue()}")
        for name in presets(arguments):
            if getattr(arguments, "command", "") != "import-checkpoint":
                override(preset(name), getattr(arguments, "settings", []) or [])
    assert not said.getvalue(), said.getvalue()


def presets(arguments: Any) -> list[str]:
    """The presets of a command that takes settings."""
    if not getattr(arguments, "settings", None):
        return []
    chosen = getattr(arguments, "preset", None) or [DEFAULT_PRESET]
    return [chosen] if isinstance(chosen, str) else [name for name in chosen if name in PRESETS]


def test_pages_hold_commands() -> None:
    assert len(CALLS) > 60


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / name for name in RUNNABLE], ids=lambda p: p.name)
def test_python_of_the_tutorials_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thorough: bool
) -> None:
    """With all its steps of training in `make thorough`, and a tenth of them without."""
    pytest.importorskip("pesq")
    example = Path(flowvocoder.__file__).parent / "examples" / "kathleen.flac"
    samples, rate = sf.read(example, frames=30_000, dtype="float32")
    sf.write(tmp_path / "recording.wav", samples, rate)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    if page.name == "stream.md":
        vocoder = flowvocoder.Vocoder.from_pretrained()
        names = {"vocoder": vocoder, "mel": vocoder.mel(torch.from_numpy(samples))}
    for block in blocks(page, "python"):
        exec(compile(block if thorough else block.replace("steps=200", "steps=20"), str(page), "exec"), names)
    if page.name == "README.md":  # says that Python and the command line give the same audio
        assert main(["mel", "recording.wav", "mel.npy"]) == main(["synth", "mel.npy", "again.wav"]) == 0
        ours, theirs = (sf.read(name, dtype="int16")[0].astype(int) for name in ("speech.wav", "again.wav"))
        assert len(ours) == len(theirs) and abs(ours - theirs).max() <= 1  # soundfile rounds in its own way


@pytest.mark.slow
@pytest.mark.long
def test_commands_of_the_first_tutorial_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the first half second of the recordings, which the tutorial hears as a whole."""
    examples = tmp_path / "flowvocoder" / "examples"
    examples.mkdir(parents=True)
    for recording in (Path(flowvocoder.__file__).parent / "examples").glob("*.flac"):
        samples, rate = sf.read(recording, frames=11_025)
        sf.write(examples / recording.name, samples, rate)
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "tutorials" / "first-steps.md"
    done = [call for block in blocks(page, "sh") for call in commands(block) if call[1] != "demo"]
    for words in done:
        assert main([*words[1:], "--threads", "1"]) == 0, words
    assert len(done) >= 7
    assert {path.name for path in tmp_path.iterdir()} >= {"out.wav", "both.png", "mel.npy", "mel.npy.json", "back.wav"}


LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", [p for p in PAGES if p in PEOPLE], ids=lambda p: p.name)
def test_links_outside_the_site_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in (a or b for a, b in LINK.findall(text)):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


NAMED = re.compile(r"`((?:tests|flowvocoder|docs|recipes|demo)/[\w./-]+|CHANGELOG\.md|CONTRIBUTING\.md|CITATION\.cff)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_the_pages_name_are_there(page: Path) -> None:
    for name in NAMED.findall(page.read_text(encoding="utf-8")):
        if "NAME" not in name:
            assert (ROOT / name).exists(), f"{page.name}: {name}"
