"""Text becomes speech: by the model in the wheel, and by ONNX files that are described."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from command import refused

from flowvocoder.cli.main import main
from flowvocoder.errors import ConfigError, MelError
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import convention
from flowvocoder.mel.toolkits import toolkit
from flowvocoder.text.acoustic import Hibari, acoustic
from flowvocoder.text.limits import MOST_CHARACTERS, checked_text
from flowvocoder.text.onnx import OnnxAcoustic
from flowvocoder.text.program import Program
from flowvocoder.vocoder import Vocoder

ABOUT = {
    "model": "toy.onnx", "convention": "hifigan", "symbols": "_ abcdefgh", "blank": 0, "lower": True,
    "inputs": {"x": "ids", "n": "length", "scales": [0.667, "slowness"]}, "output": "mel",
}  # fmt: skip


@pytest.fixture(scope="module")
def mels() -> np.ndarray:
    """One mel frame of a recording for every symbol."""
    audio = torch.from_numpy(sf.read("flowvocoder/examples/kathleen.flac", dtype="float32")[0])
    return MelFrontEnd(convention("hifigan"))(audio).numpy()[:, 100:110]


@pytest.fixture
def toy(tmp_path: Path, mels: np.ndarray) -> Path:
    """An acoustic model that gives each symbol its frame, and adds the scales' product times zero."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make = onnx.helper
    nodes = [
        make.make_node("Gather", ["table", "x"], ["picked"], axis=1),  # (80, 1, L)
        make.make_node("Transpose", ["picked"], ["frames"], perm=[1, 0, 2]),
        make.make_node("Cast", ["n"], ["length"], to=onnx.TensorProto.FLOAT),
        make.make_node("ReduceSum", ["scales"], ["scale"], keepdims=0),
        make.make_node("Mul", ["length", "scale"], ["product"]),
        make.make_node("Mul", ["product", "zero"], ["nothing"]),
        make.make_node("Add", ["frames", "nothing"], ["mel"]),
    ]
    tensors = [
        onnx.numpy_helper.from_array(mels, "table"),
        onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    floats, ints = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    inputs = [("x", ints, [1, "L"]), ("n", ints, [1]), ("scales", floats, [2])]
    graph = make.make_graph(
        nodes, "toy", [make.make_tensor_value_info(*one) for one in inputs],
        [make.make_tensor_value_info("mel", floats, [1, 80, "L"])], tensors,
    )  # fmt: skip
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "toy.onnx").write_bytes(model.SerializeToString())
    return described(tmp_path)


def described(folder: Path, **changed: Any) -> Path:
    file = folder / "toy.json"
    file.write_text(json.dumps({**ABOUT, **changed}))
    return file


def test_a_described_model_gives_its_mel(toy: Path, mels: np.ndarray) -> None:
    model = OnnxAcoustic(toy, convention("tacotron2"))
    numbers, source = model("Abba?", 1.5, 0)
    assert source == toolkit("hifigan")
    assert np.array_equal(numbers, mels[:, [0, 2, 0, 3, 0, 3, 0, 2, 0]]), (
        "blanks between; what it does not know is left out"
    )
    described(toy.parent, blank=None)
    assert np.array_equal(OnnxAcoustic(toy, convention("tacotron2"))("hag", 1.0, 0)[0], mels[:, [9, 2, 8]])


def test_a_program_gives_its_mel(tmp_path: Path, mels: np.ndarray) -> None:
    file, spec = tmp_path / "mine.py", convention("tacotron2")
    np.save(tmp_path / "mels.npy", mels)
    load = f"    mel = np.load({str(tmp_path / 'mels.npy')!r})\n"
    good = "import numpy as np\nconvention = 'hifigan'\ndef speak(text, speed, seed):\n" + load
    file.write_text(good + "    return mel[:, :len(text)]\n")
    numbers, source = acoustic(str(file), Vocoder.from_pretrained())("Abba", 1.5, 0)
    assert source == toolkit("hifigan") and np.array_equal(numbers, mels[:, :4])
    for text, said in (
        ("convention = 'hifigan'", "must define speak"), ("x = 1 / 0", "cannot be run"),
        (good.replace("hifigan", "nope"), "unknown mel convention"), (good + "    return mel.T\n", "bands"),
        ("raise SystemExit", "cannot be run"), (good + "    exit()\n", "fails on this text"),
        (good + "    return mel[99]\n", "fails on this text"), (good + "    return -9 * mel\n", "no plausible hifigan"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises((ConfigError, MelError), match=said):
            Program(file, spec)("a bad cafe", 1.0, 0)
    with pytest.raises(ConfigError, match="no such file"):
        Program(tmp_path / "none.py", spec)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "../toy.onnx"}, "model is the name of a file beside it"),
        ({"model": "none.onnx"}, "no such file"),
        ({"convention": "nope"}, "unknown mel convention"),
        ({"colour": 1}, "not the description"),
        ({"inputs": {"x": "ids"}}, "inputs are n, scales, x"),
        ({"inputs": {**ABOUT["inputs"], "scales": ["fast", 1]}}, "is ids, length"),  # type: ignore[dict-item]
        ({"symbols": "_"}, "knows no character"),
        ({"transposed": True}, "bands"),
        ({"output": "melody"}, "fails on this text"),
        ({"convention": "coqui"}, "no plausible coqui mel"),
    ],
)
def test_what_does_not_fit_is_one_sentence(toy: Path, changed: dict[str, Any], said: str) -> None:
    described(toy.parent, **changed)
    with pytest.raises((ConfigError, MelError), match=said):
        OnnxAcoustic(toy, convention("tacotron2"))("a bad cafe " * 9, 1.0, 0)


def test_limits_of_a_text() -> None:
    for text, speed in (("", 1.0), (" \n", 1.0), ("a" * (MOST_CHARACTERS + 1), 1.0), ("a", 0.1), ("a", float("nan"))):
        with pytest.raises(ConfigError):
            checked_text(text, speed)


@pytest.mark.slow
def test_say_is_speech_of_that_text(tmp_path: Path) -> None:
    pytest.importorskip("hibari")
    output = tmp_path / "a.wav"
    assert main(["say", "Good morning.", str(output)]) == 0
    vocoder = Vocoder.from_pretrained()
    model, spoken = Hibari(vocoder), sf.read(output, dtype="float32")[0]
    usual, again, fast = (model("Good morning.", speed, 0)[0] for speed in (1.0, 1.0, 2.0))
    assert np.array_equal(usual, again) and usual.shape[1] * 256 == len(spoken) and fast.shape[1] < 0.8 * usual.shape[1]
    assert 0.5 < len(spoken) / 22050 < 3.0
    assert float((vocoder.mel(spoken)[0, :, : usual.shape[1]] - torch.from_numpy(usual)).abs().mean()) < 0.3
    with pytest.raises(ConfigError, match="can be said"):
        model("\u4f60\u597d", 1.0, 0)


def test_bytes_that_are_no_text_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9 au lait"), "utf-8"))
    assert "standard input: not text" in refused(capsys, "say", "-", tmp_path / "a.wav")


@pytest.mark.slow
def test_say_takes_a_described_model(toy: Path, tmp_path: Path) -> None:
    assert main(["say", "a bad cafe", str(tmp_path / "o.wav"), "--tts", str(toy)]) == 0
    assert sf.info(tmp_path / "o.wav").frames == 256 * (2 * 10 + 1)
    assert main(["say", "a bad cafe", str(tmp_path / "p.wav"), "--tts", str(tmp_path / "none.json")]) == 2


@pytest.mark.slow
def test_a_model_that_fails_is_no_fault_of_the_clients(toy: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("fastapi")
    from serving import serving

    vocoder, body = Vocoder.from_pretrained(), json.dumps({"input": "a bad cafe"}).encode()
    for changed in ({"output": "melody"}, {"transposed": True}, {"convention": "coqui"}):
        with serving(vocoder, tts=OnnxAcoustic(described(toy.parent, **changed), vocoder.spec)) as served:
            said = served.error("POST", "/v1/audio/speech", body, {"Content-Type": "application/json"})
        assert said["code"] == "internal" and "toy" not in said["message"]
        assert [str(toy) in record.message for record in caplog.records] == [True], "whoever runs the server reads it"
        caplog.clear()


@pytest.mark.slow
def test_speech_over_http(toy: Path) -> None:
    pytest.importorskip("fastapi")
    from serving import serving

    vocoder = Vocoder.from_pretrained()
    with serving(vocoder, tts=OnnxAcoustic(toy, vocoder.spec)) as served:
        body = {"model": "tts-1", "voice": "alloy", "input": "a bad cafe", "instructions": "softly"}
        path, frames = "/v1/audio/speech", 256 * (2 * 10 + 1)
        head = {"Content-Type": "application/json"}
        for kind in ("mp3", "wav", "flac", "opus"):
            status, content = served.ask("POST", path, json.dumps({**body, "response_format": kind}).encode(), head)
            assert status == 200, content
            about = sf.info(io.BytesIO(content))
            assert about.duration == pytest.approx(frames / 22050, abs=0.1)
        status, content = served.ask("POST", path, json.dumps({**body, "response_format": "pcm"}).encode(), head)
        assert len(content) // 2 == pytest.approx(frames * 24000 / 22050, abs=1)
        bad: list[dict[str, Any]] = [{"input": ""}, {"input": "z"}, {"input": "a" * 5000}, {"speed": 9}, {"input": 3},
                                     {"response_format": "aac"}, {"stream_format": "sse"}]  # fmt: skip
        for wrong in bad:
            assert served.error("POST", path, json.dumps({**body, **wrong}).encode(), head)["code"] == "bad_option", (
                wrong
            )
        unknown = served.error("POST", path, json.dumps({**body, "input": "zzz"}).encode(), head)
        assert unknown["message"] == "toy.json: knows no character of the text 'zzz'", "not where it lies"
        assert served.error("POST", path, b"{", head)["status"] == 400
    with serving(vocoder) as served:
        assert "no acoustic model" in served.error("POST", path, json.dumps(body).encode(), head)["message"]
