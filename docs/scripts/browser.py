"""Makes the page that vocodes in a browser: python docs/scripts/browser.py OUT [VOICE.onnx]

OUT is then a static folder for any web server. Without VOICE.onnx, a file of `flowvocoder export`, the bundled voice is
exported. onnxruntime-web comes from npm, once; afterwards it is in the user's cache.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper

import flowvocoder
from flowvocoder.cli.main import main as command
from flowvocoder.interop.onnx.assembled import IR, OPSET
from flowvocoder.interop.onnx.graph import Graph, whole
from flowvocoder.interop.onnx.spectra import Fourier, magnitude, whole_stretches
from flowvocoder.mel.frontend import MelFrontEnd
from flowvocoder.mel.spec import MelSpec, edge_padding
from flowvocoder.postfilter.consistency import MelConsistency

PAGE = Path(__file__).parents[1] / "browser"
EXAMPLE = Path(flowvocoder.__file__).parent / "examples" / "kathleen.flac"
PACKAGE = "onnxruntime-web@1.30.0"
PARTS = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"


def main(out: Path, voice: Path | None = None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if voice is None:
        assert command(["export", "bundled", str(out / "voice.onnx"), "--precision", "float16"]) == 0
    else:
        shutil.copyfile(voice, out / "voice.onnx")
    for file in [*PAGE.iterdir(), *onnxruntime_web()]:
        shutil.copyfile(file, out / file.name)
    shutil.copyfile(EXAMPLE, out / "example.flac")
    model = onnx.load(out / "voice.onnx", load_external_data=False)
    about = {entry.key: entry.value for entry in model.metadata_props}
    spec = MelSpec.from_dict(json.loads(about["mel_spec"]))
    (out / "mel.onnx").write_bytes(mel_model(spec).SerializeToString())
    lowest = math.log10(spec.floor) if spec.log == "log10" else math.log(spec.floor)
    (out / "voice.json").write_text(json.dumps({
        "sample_rate": spec.sample_rate, "hop_length": spec.hop_length, "n_mels": spec.n_mels,
        "block": int(about["block"]), "temperature": float(about["temperature"]),
        "shortest": max(edge_padding(spec)) + 1, "lowest": lowest, "highest": 0.1 * abs(lowest),
    }))  # fmt: skip


def mel_model(spec: MelSpec) -> onnx.ModelProto:
    """Audio (B, F * hop_length) -> what `Vocoder.mel_for` gives of it, (B, n_mels, F)."""
    graph, front, last = Graph("mel"), MelFrontEnd(spec), -(-spec.n_fft // spec.hop_length) - 1
    left, right = edge_padding(spec)
    frames = graph("Div", graph("Shape", "audio", start=1, end=2), whole(spec.hop_length))
    padded = graph("Pad", "audio", whole(0, left, 0, right), mode="reflect")
    end = graph("Mul", graph("Add", frames, whole(last)), whole(spec.hop_length))
    used = graph.slice(graph.pad(padded, 0, spec.n_fft, 1), 0, end, 1)
    # A window may be shorter than the transform; that of the mel-consistency iterations has its zeros.
    window = MelConsistency(spec).window
    bins = spec.n_fft // 2 + 1
    fourier = Fourier(graph, spec.n_fft, spec.hop_length, bins, window, None)
    spectrum = fourier.of(whole_stretches(graph, used, spec.n_fft, spec.hop_length))
    filterbank = front.filterbank.T[fourier.order].contiguous()
    mel = graph("MatMul", magnitude(graph, spectrum, spec.magnitude_eps), filterbank)
    logarithm = graph("Log", graph("Max", mel, spec.floor))
    logarithm = graph("Div", logarithm, math.log(10.0)) if spec.log == "log10" else logarithm
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in
            (("audio", ["batch", "samples"]), ("mel", ["batch", spec.n_mels, "frames"]))]  # fmt: skip
    model = helper.make_model(helper.make_graph([], "mel", ends[:1], ends[1:]), ir_version=IR,
                              opset_imports=[helper.make_opsetid("", OPSET)])  # fmt: skip
    graph.add_to(model, graph("Transpose", logarithm, perm=[0, 2, 1]), "mel")
    return model


def onnxruntime_web() -> list[Path]:
    """The files of onnxruntime-web that the page loads."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowvocoder" / PACKAGE
    files = [cache / name for name in PARTS]
    if not all(file.is_file() for file in files):
        cache.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", str(cache)]
        packed = cache / subprocess.run(npm, check=True, capture_output=True, text=True).stdout.strip()
        with tarfile.open(packed) as archive:
            for file in files:
                content = archive.extractfile(f"package/dist/{file.name}")
                assert content is not None
                file.write_bytes(content.read())
        packed.unlink()
    return files


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
