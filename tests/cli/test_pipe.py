"""From pipe to pipe: `synth --stream`, `stream-resynth`, and the mel of audio that is still coming in."""

import dataclasses
import io
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from command import Fork, run
from helpers import speech_like

from flowvocoder.cli.main import main
from flowvocoder.errors import AudioError
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import CONVENTIONS, MelSpec, convention
from flowvocoder.mel.streaming import MelStream
from flowvocoder.units import ceil_div


@dataclasses.dataclass
class Done:
    returncode: int
    stdout: bytes
    stderr: str


def pipe(data: bytes, *arguments: object) -> Done:
    """The command with these bytes on standard input."""
    streams = io.TextIOWrapper(io.BytesIO(data)), io.TextIOWrapper(io.BytesIO()), io.StringIO()
    kept = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = streams
    try:
        code = main([str(a) for a in arguments])
    finally:
        sys.stdin, sys.stdout, sys.stderr = kept
    return Done(code, streams[1].buffer.getvalue(), streams[2].getvalue())


def close(pcm: bytes, wav: Path) -> bool:
    expected = sf.read(wav, dtype="int16")[0].astype(int)
    got = np.frombuffer(pcm, np.int16).astype(int)
    return len(got) == len(expected) and np.abs(got - expected).max() <= 4  # 1e-4 of full scale


@pytest.mark.slow
def test_synth_from_a_pipe_is_synth(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    mel, out = tmp_path / "m.npy", tmp_path / "o.wav"
    assert main(["mel", str(wav), str(mel), "--checkpoint", str(checkpoint)]) == 0
    # A stream's own latency is 47 ms more than the flow's 70.
    assert main(["synth", str(mel), str(out), "--checkpoint", str(checkpoint), "--seed", "3", "--latency", "116"]) == 0
    frames = np.load(mel).T.astype(np.float32).tobytes()
    done = pipe(frames, "synth", "--stream", "--checkpoint", checkpoint, "--seed", 3, "--chunk", 5)
    assert done.returncode == 0 and "look-ahead" in done.stderr and close(done.stdout, out)
    broken = pipe(frames + b"abc", "synth", "--stream", "--checkpoint", checkpoint, "--seed", 3)
    assert broken.returncode == 2 and "no whole frames" in broken.stderr
    assert close(broken.stdout, out), "what came before the broken end must not be lost"
    assert pipe(b"", "synth", "--stream", "--checkpoint", checkpoint).returncode == 2


@pytest.mark.slow
def test_resynth_from_a_pipe_is_resynth(wav: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.wav"
    as_streamed = ["--checkpoint", str(checkpoint), "--seed", "3", "--latency", "128"]
    assert main(["resynth", str(wav), str(out), *as_streamed]) == 0
    pcm = sf.read(wav, dtype="int16")[0].tobytes()
    done = pipe(pcm, "stream-resynth", *as_streamed, "--chunk", 3)
    assert done.returncode == 0 and close(done.stdout, out), done.stderr
    short = pipe(pcm[:100], "stream-resynth", "--checkpoint", checkpoint)
    assert short.returncode == 2 and "too few" in short.stderr


def fill(pipe: Path | int, content: bytes) -> None:
    """Write into a pipe, given by name or number, while the command reads it."""

    def write() -> None:
        with open(pipe, "wb") as file:  # noqa: PTH123 (numbers)
            file.write(content)

    threading.Thread(target=write, daemon=True).start()


@pytest.mark.slow
def test_a_recording_from_a_pipe_is_that_of_its_file(
    wav: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A named pipe, and one by its number, as a shell makes of `<(...)`."""
    expected, out, named = tmp_path / "expected.wav", tmp_path / "o.wav", tmp_path / "pipe"
    assert run("resynth", wav, expected, "--checkpoint", checkpoint) == 0
    os.mkfifo(named)
    fill(named, wav.read_bytes())
    assert run("resynth", named, out, "--checkpoint", checkpoint) == 0
    assert out.read_bytes() == expected.read_bytes()
    out.unlink()
    for content, code in ((wav.read_bytes(), 0), (b"", 2)):
        reading, writing = os.pipe()
        fill(writing, content)
        assert run("resynth", f"/dev/fd/{reading}", out, "--checkpoint", checkpoint) == code
        os.close(reading)
        assert out.read_bytes() == expected.read_bytes()
    assert f"/dev/fd/{reading}: is empty (0 bytes)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recording_from_standard_input(wav: Path, tmp_path: Path) -> None:
    mels = tmp_path / "expected.npy", tmp_path / "o.npy"
    assert run("mel", wav, mels[0]) == 0
    done = Fork("mel", "/dev/stdin", mels[1], stdin=wav.read_bytes()).wait()
    assert done.returncode == 0, done.stderr
    assert mels[0].read_bytes() == mels[1].read_bytes()


def test_stream_takes_no_paths(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "in.npy", "out.wav", "--stream", "--checkpoint", str(checkpoint)]) == 2
    assert main(["synth", "in.npy", "--checkpoint", str(checkpoint)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "no PATH like in.npy" in lines[0] and "where to put the audio" in lines[1]


SPECS = [*CONVENTIONS.values(), MelSpec(hop_length=700, n_fft=1024)]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.name()}-{s.hop_length}")
@pytest.mark.parametrize("samples", [1025, 9 * 256, 20_011])
def test_mel_of_audio_that_comes_in_pieces(spec: MelSpec, samples: int) -> None:
    audio = torch.from_numpy(speech_like(1.0, spec.sample_rate))[:samples]
    front_end = MelFrontEnd(spec)
    frames = ceil_div(samples, spec.hop_length)
    padded = torch.nn.functional.pad(audio, (0, frames * spec.hop_length - samples))
    stream = MelStream(front_end)
    sizes = torch.randint(1, 900, (1000,), generator=torch.Generator().manual_seed(1))
    pieces = [stream.push(piece) for piece in audio.split([*_until(samples, sizes.tolist())])]
    assert torch.allclose(torch.cat([*pieces, stream.flush()], 1), front_end(padded)[:, :frames], atol=1e-4)


def _until(total: int, sizes: list[int]) -> list[int]:
    kept: list[int] = []
    for size in sizes:
        kept.append(min(size, total - sum(kept)))
        if sum(kept) == total:
            break
    return kept


def test_mel_of_too_little_audio() -> None:
    stream = MelStream(MelFrontEnd(convention("tacotron2")))
    assert stream.push(torch.zeros(200)).shape == (80, 0)
    with pytest.raises(AudioError, match="200 samples are too few"):
        stream.flush()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latency", "20"], "a latency of 20 ms is too short: this voice is 70 ms behind at least"),
        (["--latency", "nan"], "a latency of nan ms is too short"),
        (["--latency", "100", "--gl-iters", "1"], "--latency chooses the iterations: not with --gl-iters"),
    ],
)
def test_impossible_latencies_are_one_sentence(options: list[str], message: str, checkpoint: Path) -> None:
    done = pipe(b"", "synth", "--stream", "--checkpoint", checkpoint, *options)
    assert (done.returncode, done.stdout) == (2, b"") and message in done.stderr and done.stderr.count("\n") == 1
