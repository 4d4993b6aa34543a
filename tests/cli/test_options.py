"""What every command offers: its options, their words, and the names they had."""

import argparse
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf
from command import refused, run

import flowvocoder.cli
from flowvocoder.cli.command import RENAMED
from flowvocoder.cli.main import commands, parser
from flowvocoder.voice_card import BUNDLED_VOICE

LONGEST = 25
"""Words of one help text."""

SHARED = {"bulk", "command", "common", "density", "latent", "main", "options", "pipe", "processes"}
"""Modules that are no command."""


def parsers(top: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from parsers(sub)


def test_every_file_is_a_command() -> None:
    files = {info.name for info in pkgutil.iter_modules(flowvocoder.cli.__path__)} - SHARED
    assert files == {command.name.replace("-", "_").replace(" ", "_") for command in commands()}
    names = [sub.prog for sub in parsers(parser())]
    assert {f"flowvocoder {command.name}" for command in commands()} < set(names)


def test_every_help_text_is_there_and_short() -> None:
    for one in parsers(parser()):
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction) or action.dest == "preset":  # a list of all presets
                continue
            assert action.help, f"{one.prog} {action.dest}"
            text = action.help % vars(action)
            assert len(text.split()) < LONGEST, f"{one.prog} {action.dest}: {text}"


@pytest.mark.slow
def test_old_names_work_and_say_the_new_ones(
    wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.wav", tmp_path / "new.wav"
    plots = tmp_path / "old.png", tmp_path / "new.png"
    given = ("--checkpoint", checkpoint)
    assert run("resynth", wav, old, *given, "--match", 1, "--low-match=2", "--picture", plots[0]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in said] == [f"flowvocoder: {old} is now {new}" for old, new in RENAMED.items()]
    assert run("resynth", wav, new, *given, "--gl-iters", 1, "--low-band-iters=2", "--plot", plots[1]) == 0
    assert not capsys.readouterr().err
    assert sf.read(old)[0].tolist() == sf.read(new)[0].tolist()
    assert plots[0].read_bytes() == plots[1].read_bytes()


def test_an_old_name_is_refused_where_it_never_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments: --match" in refused(capsys, "info", "--match", "1")


def test_corpus_is_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    from recipes.cli import main as recipes

    outputs = []
    for main in (recipes, lambda argv: run("corpus", *argv)):
        for argv in (["list"], ["show", "vctk"]):
            assert main(argv) == 0
        outputs.append(capsys.readouterr().out)
        assert main(["show", "nothing"]) == 2
        assert "no corpus named 'nothing': there are cmu-arctic" in capsys.readouterr().err
    assert outputs[0] == outputs[1] and "CC BY 4.0" in outputs[0]


def test_two_words_are_one_command_only_where_commands_stand() -> None:
    assert parser().parse_args(["mel", "convert", "a.npy", "--convention", "vocos"]).command == "mel convert"
    assert vars(parser().parse_args(["synth", "mel", "convert"]))["paths"] == ["mel", "convert"]


@pytest.mark.parametrize("words", [("prepare", "a.jsonl", "out"), ("pack", "a", "--out", "out", "--size", "4MB")])
def test_no_rate_is_not_the_usual_one(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--rate: must be 1 or above and whole, not '0'" in refused(capsys, *words, "--rate", "0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--preset", "lapglow-live"], "preset lapglow-live is now lapglow-streaming"),
        (["--preset", "lapglow-voice"], "preset lapglow-voice is now lapglow-stage1"),
        (["--set", "match=3"], "--set match is now --set sampling.gl_iters"),
    ],
)
def test_old_presets_and_settings_say_the_new_ones(
    given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "--corpus", tmp_path / "none", "--out", tmp_path / "out", *given) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"flowvocoder: {said};") and "no such folder" in lines[1] and len(lines) == 2


@pytest.mark.parametrize(
    "words",
    [
        "info bundled",
        "export bundled o.onnx",
        "evaluate bundled --corpus a",
        "train --init-from bundled --corpus a --out b",
        "demo --checkpoint bundled",
        "serve --checkpoint bundled",
        "bench infer --checkpoint bundled",
        "resynth a b --checkpoint bundled",
        "synth a b --checkpoint bundled",
        "score a --checkpoint bundled",
        "stream-resynth --checkpoint bundled",
        "stream-resynth --checkpoint universal-22k",
    ],
)
def test_the_bundled_voice_has_a_name(words: str) -> None:
    values = vars(parser().parse_args(words.split()))
    value = values.get("init_from") or values["checkpoint"]
    assert value in (BUNDLED_VOICE, [BUNDLED_VOICE])
