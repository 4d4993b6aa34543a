"""Examples in docstrings run as they stand, given a voice, a recording and its mel."""

import doctest
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

import flowvocoder
from flowvocoder import Vocoder

PACKAGE = Path(flowvocoder.__file__).parent


def examples() -> list[doctest.DocTest]:
    """Every docstring with an example, of the package's modules."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            module = importlib.import_module(".".join(p for p in parts if p != "__init__"))
            found += [test for test in doctest.DocTestFinder().find(module) if test.examples]
    return found


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    vocoder = Vocoder.from_pretrained()
    samples, _ = sf.read(PACKAGE / "examples" / "kathleen.flac", frames=22_016, dtype="float32")
    recording = torch.from_numpy(samples)
    signals = {"recording": recording, "audio": recording[None], "mel": vocoder.mel_for(recording)}
    return {"torch": torch, "np": np, "Path": Path, "vocoder": vocoder, **signals}


@pytest.mark.slow
@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_example_runs(test: doctest.DocTest, names: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    sf.write("recording.wav", names["recording"].numpy(), 22050)
    test.globs |= names
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
    said: list[str] = []
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_there_are_examples() -> None:
    assert {"flowvocoder", "flowvocoder.vocoder.Vocoder"} <= {test.name for test in examples()}
