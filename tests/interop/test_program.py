"""Programs of `torch.export`: the whole voice, in Python and in C++."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from bijection import perturb
from helpers import speech_like

from flowvocoder import Vocoder
from flowvocoder.checkpoint import Checkpoint, build_model, build_postfilter, save_checkpoint
from flowvocoder.cli.main import main
from flowvocoder.config import override
from flowvocoder.interop.program import without_gaps
from flowvocoder.postfilter.settings import PostfilterSettings
from flowvocoder.presets import preset
from flowvocoder.voice_card import VoiceCard

SOURCE = Path(__file__).parents[2] / "docs" / "examples" / "vocode.cpp"


class Gaps(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        part = x[..., :-1]
        return part * 0.98 + x.transpose(0, 1)[0, 0, 0], part


def test_no_view_with_gaps_is_computed_with() -> None:
    x = torch.randn(1, 6, 5)
    program = without_gaps(torch.export.export(Gaps(), (x,), dynamic_shapes=({1: torch.export.Dim("n", min=2)},)))
    computed = [node for node in program.graph.nodes if "mul" in str(node.target)]
    assert [node.args[0].meta["val"].is_contiguous() for node in computed] == [True]
    torch.export.save(program, io.BytesIO())  # which also checks it
    assert all(torch.equal(a, b) for a, b in zip(program.module()(x), Gaps()(x), strict=True))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As small as a voice with a refiner can be: tracing takes seconds a layer."""
    few = ["model.flows=1", "model.layers=1", "model.encoder_layers=1", "model.block=256"]
    networks = ["postfilter.guide_channels=0", "postfilter.refiner_channels=8", "postfilter.refiner_layers=1"]
    experiment = override(preset("lapglow-tiny"), few + networks)
    torch.manual_seed(0)
    model, folder = build_model(experiment), tmp_path_factory.mktemp("voice") / "checkpoint"
    postfilter = build_postfilter(experiment)
    assert postfilter is not None and postfilter.refiner is not None
    perturb(model, 0.03)
    perturb(postfilter.refiner.last, 0.1)
    card = VoiceCard(postfilter=PostfilterSettings(2, 2))
    save_checkpoint(folder, Checkpoint(model, experiment, card, postfilter))
    return folder


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_a_program_and_cpp_give_what_pytorch_gives(checkpoint: Path, tmp_path: Path) -> None:
    program, vocoder = tmp_path / "voice.pt2", Vocoder.from_pretrained(checkpoint)
    mel = vocoder.mel(torch.from_numpy(speech_like(1.0, 22050, 0)))[..., :40]
    assert main(["export", str(checkpoint), str(program), "--format", "pt2"]) == 0
    extra = {"flowvocoder.json": ""}
    loaded = torch.export.load(program, extra_files=extra).module()
    assert '"sample_rate": 22050' in extra["flowvocoder.json"]
    for frames in (40, 22):
        part = mel[..., :frames]
        expected = vocoder.synthesize(part, 0.7, seed=3)
        assert (loaded(part, vocoder.draw_noise(part, 0.7, 3)) - expected).abs().max() < 1e-4

    torch_folder = Path(torch.__file__).parent
    flags = [f"-I{torch_folder / path}" for path in ("include", "include/torch/csrc/api/include")]
    libraries = [f"-L{torch_folder / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch_folder / 'lib'}"]
    command = ["g++", "-std=c++17", "-w", str(SOURCE), "-o", str(tmp_path / "vocode"), *flags, *libraries]
    subprocess.run(command, check=True)
    command = [*(str(tmp_path / name) for name in ("vocode", "voice.pt2", "mel.npy", "out.wav")), "22050", "0.7"]
    np.save(tmp_path / "mel.npy", mel[0, :, :39].numpy())  # an odd number: the last one is there twice
    subprocess.run(command, check=True)
    noise = 0.7 * torch.randn(1, 256, 40, generator=torch.manual_seed(0))
    expected = loaded(torch.cat([mel[..., :39], mel[..., 38:39]], 2), noise)[0, : 39 * 256].numpy()
    made, rate = sf.read(tmp_path / "out.wav", dtype="float32")
    assert rate == 22050 and np.abs(made - expected.clip(-1.0, 1.0)).max() < 1e-4
    np.save(tmp_path / "mel.npy", mel[0].double().numpy())
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "must hold float32 in C order" in refused.stderr
