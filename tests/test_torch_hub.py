"""`torch.hub` finds the repository's entry point, and gives the voice that the package gives."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from flowvocoder.vocoder import Vocoder

ROOT = Path(__file__).parents[1]


def hubconf() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hubconf", ROOT / "hubconf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_torch_hub_loads_a_voice() -> None:
    names = {name for name in vars(hubconf()) if not name.startswith("_")}
    assert names == {"vocoder", "dependencies"}, "nothing else is offered"
    loaded, own = torch.hub.load(str(ROOT), "vocoder", source="local"), Vocoder.from_pretrained()
    mel = torch.full((80, 12), -5.0)
    audio = loaded.synthesize(mel, seed=0, trust_mel=True)
    assert torch.equal(audio, own.synthesize(mel, seed=0, trust_mel=True))
