"""The demo over its API: what it answers, what it refuses, and many visitors at once."""

import importlib
import json
import struct
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from demo_fixtures import Server, assert_nothing_is_left, running

from flowvocoder.analysis.editing import moved
from flowvocoder.demo.inputs import LONGEST
from flowvocoder.errors import AcousticError
from flowvocoder.vocoder import Vocoder

gradio_client = pytest.importorskip("gradio_client")
pytestmark = pytest.mark.slow
Client, handle_file = gradio_client.Client, gradio_client.handle_file
PATIENT = {"timeout": 300}


@pytest.fixture(autouse=True)
def client_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio's client makes an empty folder for every download, in the folder for temporary files, and keeps it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def client(demo: Server, tmp_path: Path) -> "gradio_client.Client":
    return Client(demo.address, verbose=False, download_files=str(tmp_path / "answers"))


def expected(checkpoint: Path, wav: Path, seed: int) -> np.ndarray:
    vocoder = Vocoder.from_pretrained(checkpoint)
    audio = torch.from_numpy(sf.read(wav, dtype="float32")[0])
    # A checkpoint of twelve steps shouts.
    return vocoder.resynthesize(audio, 0.7, seed=seed)[0].clamp(-1.0, 1.0).numpy()


def mel_of(checkpoint: Path, wav: Path) -> torch.Tensor:
    return Vocoder.from_pretrained(checkpoint).mel_for(torch.from_numpy(sf.read(wav, dtype="float32")[0]))


def refusal(client: "gradio_client.Client", *arguments: object, api_name: str) -> str:
    with pytest.raises(gradio_client.exceptions.AppError) as caught:
        client.predict(*arguments, api_name=api_name)
    assert "Traceback" not in str(caught.value) and "/tmp" not in str(caught.value)
    return str(caught.value)


def test_resynthesis_is_what_the_package_gives(client: "gradio_client.Client", checkpoint: Path, wav: Path) -> None:
    original, vocoded, figures, plot, mel = client.predict(
        recording=handle_file(wav), temperature=0.7, seed=3, denoise=0, api_name="/resynthesize"
    )
    assert np.array_equal(sf.read(original, dtype="int16")[0], sf.read(wav, dtype="int16")[0])
    assert np.abs(sf.read(vocoded)[0] - expected(checkpoint, wav, 3)).max() < 2 / 32768
    assert [f["label"] for f in figures] == ["Speed", "Bits per sample", "Mel distance", "Length"]
    assert figures[3]["value"] == pytest.approx(1.2, abs=0.01)
    assert Path(plot["path"] if isinstance(plot, dict) else plot).read_bytes()[1:4] == b"PNG"
    assert np.array_equal(np.load(mel), mel_of(checkpoint, wav)[0]), "the mel that it gives is the one that it used"


def test_the_post_filter_can_be_chosen(client: "gradio_client.Client", checkpoint: Path, wav: Path) -> None:
    vocoder, mel = Vocoder.from_pretrained(checkpoint), mel_of(checkpoint, wav)
    np.save(wav.with_suffix(".npy"), mel[0])
    for gl_iters in (0, 3):
        settings = {"temperature": 0.7, "seed": 3, "gl_iters": gl_iters}
        wanted = vocoder.synthesize(mel, 0.7, seed=3, gl_iters=gl_iters)[0].clamp(-1.0, 1.0).numpy()
        vocoded = client.predict(recording=handle_file(wav), **settings, api_name="/resynthesize")[1]
        assert np.abs(sf.read(vocoded)[0] - wanted[: len(sf.read(wav)[0])]).max() < 2 / 32768
        spoken = client.predict(file=handle_file(wav.with_suffix(".npy")), trust=True, **settings, api_name="/speak")[1]
        assert np.abs(sf.read(spoken)[0] - wanted).max() < 1e-3
    streamed = {"temperature": 0.7, "seed": 3, "latency": 93, "trust": True}
    spoken = client.predict(file=handle_file(wav.with_suffix(".npy")), **streamed, api_name="/speak")[1]
    wanted = vocoder.synthesize(mel, 0.7, seed=3, latency_ms=93)[0].clamp(-1.0, 1.0).numpy()
    assert np.abs(sf.read(spoken)[0] - wanted).max() < 1e-3
    for impossible in (2.5, 65, -1):
        refusal(client, handle_file(wav), 0.7, 0, 0, impossible, api_name="/resynthesize")


def test_speaking_a_mel_streams_the_same_audio(
    client: "gradio_client.Client", checkpoint: Path, wav: Path, tmp_path: Path
) -> None:
    vocoder = Vocoder.from_pretrained(checkpoint)
    mel = vocoder.mel_for(torch.from_numpy(sf.read(wav, dtype="float32")[0]))
    mel = mel.repeat(1, 1, 4)  # longer than the passes over the lowest kilohertz are behind
    torch.save({"mel": mel[0]}, tmp_path / "m.pt")
    job = client.submit(handle_file(tmp_path / "m.pt"), True, 0.7, 5, api_name="/speak")
    live, whole, figures, _ = job.result(300)
    assert len(job.outputs()) > 2, "came in one piece"
    assert live["done"] and live["pcm"].startswith(job.outputs()[0][0]["pcm"])
    audio = vocoder.synthesize(mel, 0.7, seed=5)[0].numpy()
    spoken = sf.read(whole)[0]
    assert len(spoken) == len(audio) and np.abs(spoken - audio).max() < 1e-3
    assert figures[0]["value"] > 0


def test_latent_score_walk_and_pair(client: "gradio_client.Client", wav: Path) -> None:
    decoded, figures, _ = client.predict(handle_file(wav), 1.0, 0.0, None, api_name="/latent")
    assert np.abs(sf.read(decoded)[0] - sf.read(wav)[0]).max() < 2 / 32768, "temperature 1 changes nothing"
    assert figures[0]["value"] < 1e-4
    _, figures, _ = client.predict(handle_file(wav), -20, 100, 0, 11.025, "its own mel", api_name="/score")
    assert figures[2]["value"] < -0.5, "noise did not lower the likelihood"
    plots, table = client.predict(handle_file(wav), api_name="/walk")
    assert len(plots) >= 5 and "Transform" in table
    a, b, _ = client.predict(handle_file(wav), ["Griffin-Lim", "the recording itself"], api_name="/pair")
    assert sorted(Path(p).name for p in (a, b)) == ["audio.wav", "audio.wav"], "the names would tell"
    scores = client.predict([handle_file(wav), handle_file(wav)], api_name="/score_files")
    assert scores.count("in.wav") == 2
    shown, _, listed = client.predict([handle_file(wav), handle_file(wav)], api_name="/faults")
    assert shown.count("in.wav") == 2
    assert [list(row) for row in json.loads(Path(listed).read_text())] == [["file", "score", "p_value", "spans"]] * 2


def test_edits_are_those_of_the_package(client: "gradio_client.Client", wav: Path) -> None:
    samples, rate = sf.read(wav, dtype="float32")
    edited, _ = client.predict(handle_file(wav), 3, 1.25, 0.9, 0, 0, 0, api_name="/edit")
    assert np.abs(sf.read(edited)[0] - moved(samples, rate, 3, 1.25, 0.9)).max() < 2 / 32768
    edited, _ = client.predict(handle_file(wav), 0, 1, 1, 0.3, 0.6, 7, api_name="/edit")
    changed = np.flatnonzero(np.abs(sf.read(edited)[0] - samples) > 1 / 32768) / rate
    assert 0.3 <= changed.min() < 0.32 and 0.58 < changed.max() <= 0.6
    assert "maximum value 12" in refusal(client, handle_file(wav), 13, 1, 1, 0, 0, 0, api_name="/edit")
    assert "in.wav: the span from 0.2 to 99" in refusal(client, handle_file(wav), 0, 1, 1, 0.2, 99, 0, api_name="/edit")


def test_a_flow_is_fitted_bit_by_bit_and_sampled(client: "gradio_client.Client", demo: Server) -> None:
    assert "press Fit" in refusal(client, 0, api_name="/sample_flow")
    job = client.submit("realnvp", "ring-of-eight", 200, 100, 0, api_name="/fit_flow")
    figures, said, plot = job.result(300)
    assert [answer[0][2]["value"] for answer in job.outputs()] == [50, 100]
    assert figures[0]["label"] == "Held out" and "truth has -0.3" in figures[0]["note"]
    assert "All 100 steps are done" in said and Path(plot).read_bytes()[1:4] == b"PNG"
    client.predict(7, api_name="/sample_flow")
    other = Client(demo.address, verbose=False)
    assert "press Fit" in refusal(other, 0, api_name="/sample_flow"), "another visitor's fit"
    assert "2000" in refusal(other, "nsf-c", "rings", 200, 2001, 0, api_name="/fit_flow")
    assert "not in the list" in refusal(other, "nsf-c", "passwd.csv", 200, 50, 0, api_name="/fit_flow")


def _write_bomb(path: Path) -> None:
    """A few kB that claim, and unpack to, 4 GB of zeros."""
    header = b"\x93NUMPY\x01\x00"
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (80, 12500000), }"
    text += b" " * (117 - len(text)) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("mel.npy", "w") as file:
        file.write(header + struct.pack("<H", len(text)) + text)
        for _ in range(40):  # 40 MB are enough to show that it is not read
            file.write(bytes(2**20))


class _Marker:
    """Pickled, it would create a file when loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)


def test_bad_uploads_are_refused_and_nothing_is_run(
    client: "gradio_client.Client", demo: Server, wav: Path, tmp_path: Path
) -> None:
    text, long, bomb, marker = (tmp_path / n for n in ("text.wav", "long.flac", "bomb.npz", "ran"))
    text.write_text("this is no audio")
    with sf.SoundFile(long, "w", 8000, 1, "PCM_16") as file:  # two hours of silence in 100 kB
        for _ in range(7200):
            file.write(np.zeros(8000, dtype=np.int16))
    _write_bomb(bomb)
    torch.save(_Marker(marker), tmp_path / "pickled.pt")
    np.save(tmp_path / "pickled.npy", np.array([_Marker(marker)], dtype=object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.full((80, 50), np.nan, dtype=np.float32))
    np.save(tmp_path / "turned.npy", np.zeros((50, 80), dtype=np.float32))
    np.save(tmp_path / "bands.npy", np.zeros((64, 50), dtype=np.float32))
    (tmp_path / "empty.wav").write_bytes(b"")
    torch.save(torch.zeros(1).expand(80, 10**9), tmp_path / "wide.pt")

    def recording(name: str) -> str:
        return refusal(client, handle_file(tmp_path / name), 0.7, 0, 0, api_name="/resynthesize")

    def mel(name: str) -> str:
        return refusal(client, handle_file(tmp_path / name), False, 0.7, 0, api_name="/speak")

    before = demo.memory()
    assert "text.wav: cannot be read as audio" in recording("text.wav")
    assert f"long.flac: is 7200 s long, at most {LONGEST:.0f} s" in recording("long.flac")
    assert "empty.wav" in recording("empty.wav")
    assert "12500000" in mel("bomb.npz")
    assert "no other Python objects" in mel("pickled.pt")
    assert "pickled Python objects" in mel("pickled.npy")
    assert "4000 of 4000 values are NaN" in mel("nan.npy")
    assert "transposed" in mel("turned.npy")
    assert "64 bands, the checkpoint wants 80" in mel("bands.npy")
    assert "80000000000 values" in mel("wide.pt")
    assert not marker.exists()
    assert demo.memory() - before < 200e6
    # Addresses are not fetched, settings out of range not taken; and after all this it still answers.
    address = {"path": "http://127.0.0.1:1/a.wav", "meta": {"_type": "gradio.FileData"}}
    assert "fetches no addresses" in refusal(client, address, 0.7, 0, 0, api_name="/resynthesize")
    refusal(client, handle_file(wav), 1e9, 0, 0, api_name="/resynthesize")
    assert "-1" in refusal(client, handle_file(wav), 0.7, -1, 0, api_name="/resynthesize")
    assert len(client.predict(handle_file(wav), 0.7, 0, 0, api_name="/resynthesize")) == 5


@pytest.mark.thorough
def test_many_clients_at_once(demo: Server, checkpoint: Path, wav: Path, tmp_path: Path, thorough: bool) -> None:
    """All answered, each with its own seed's samples, in flat memory. tests/demo/load.py does it for a minute."""
    clients, rounds = 20 if thorough else 8, 2
    wanted = {seed: expected(checkpoint, wav, seed) for seed in range(clients)}
    wrong: list[str] = []
    memory: list[int] = []

    def visit(seed: int) -> None:
        try:
            # As through a proxy: each at an address of its own, of which the server lets none fill the queue.
            head, files = {"X-Forwarded-For": f"10.1.0.{seed}"}, str(tmp_path / "answers")
            visitor = Client(demo.address, verbose=False, headers=head, download_files=files, httpx_kwargs=PATIENT)
            for _ in range(rounds):
                answer = visitor.predict(handle_file(wav), 0.7, seed, 0, api_name="/resynthesize")
                error = np.abs(sf.read(answer[1])[0] - wanted[seed]).max()
                if error > 2 / 32768:
                    wrong.append(f"seed {seed}: off by {error}")
                memory.append(demo.memory())
        except Exception as error:
            wrong.append(f"seed {seed}: {error!r}")

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    assert len(memory) == clients * rounds
    half = len(memory) // 2
    assert max(memory[half:]) < 1.15 * max(memory[:half]), [m // 2**20 for m in memory]


def test_the_same_result_twice_is_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one visitor's would be written over while another fetches it."""
    from flowvocoder.demo.parts import pcm, player, plot

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    sound = pcm(22050, np.linspace(-1.0, 1.0, 100, dtype=np.float32))
    for component, value in ((player("Speech"), sound), (plot("Drawing"), np.zeros((4, 4, 3), np.uint8))):
        first, second = (Path(component.postprocess(value).path) for _ in range(2))
        assert first != second and first.read_bytes() == second.read_bytes()
        assert first.is_relative_to(component.GRADIO_CACHE), "files elsewhere are copied, and not deleted"


def test_a_visitor_hears_nothing_of_a_model_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    from flowvocoder.demo.parts import answer, gr

    @answer
    def fails() -> None:
        raise AcousticError("/srv/tts.json: its model fails on this text")

    with pytest.raises(gr.Error) as told:
        fails()
    assert "tts" not in str(told.value) and "/srv/tts.json" in caplog.text


def test_a_span_is_heard_without_a_second_detection(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowvocoder.demo.app import build
    from flowvocoder.demo.parts import MODEL_WORK, pcm
    from flowvocoder.demo.service import Service

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    samples, rate = sf.read("flowvocoder/examples/kathleen.flac", dtype="float32")
    samples[rate : rate + rate // 10] = 0.0
    sf.write(tmp_path / "gap.wav", samples, rate)
    service = Service.load([checkpoint])
    of_tab = [one for one in build(service).fns.values() if one.name in ("faults", "hear")]
    assert {one.name for one in of_tab} == {"faults", "hear"}
    assert {one.concurrency_id for one in of_tab} == {MODEL_WORK["concurrency_id"]}
    function = {one.name: one.fn for one in of_tab}
    _, choice, _, found = function["faults"]([str(tmp_path / "gap.wav")])
    monkeypatch.setitem(service.__dict__, "detector", None)
    span = found[0].verdict.spans[0]
    assert abs(span.start - 1.0) < 0.1 and function["hear"]("", found) == (None, None)
    heard, picture = function["hear"](choice.value, found)
    first, last = (round(seconds * rate) for seconds in (span.start - 0.5, span.end + 0.5))
    assert np.array_equal(heard[1], pcm(rate, samples[first:last])[1]) and picture.shape[2] == 3


def test_the_denoiser_is_measured_once(checkpoint: Path, wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowvocoder.demo.service import Service

    measured, measure = [], Vocoder.denoiser
    monkeypatch.setattr(Vocoder, "denoiser", lambda vocoder: measured.append(vocoder) or measure(vocoder))
    service = Service.load([checkpoint])
    plain, *twice = (service.resynthesize(str(wav), 0.7, 0, strength, 0).vocoded for strength in (0.0, 0.1, 0.1))
    assert np.array_equal(*twice) and not np.array_equal(plain, twice[0])
    assert measured == [service.vocoder]


def test_gradio_is_imported_without_its_stub_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which it writes beside whatever defines a component."""
    from flowvocoder.demo.parts import gr

    (tmp_path / "own_box.py").write_text("import gradio\n\n\nclass Own(gradio.Textbox):\n    EVENTS = ['change']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert issubclass(importlib.import_module("own_box").Own, gr.Textbox)
    assert not (tmp_path / "own_box.pyi").exists()


@pytest.mark.thorough
def test_temporary_files_go_and_nothing_is_fetched(checkpoint: Path, wav: Path, tmp_path: Path) -> None:
    """Of a server that did one thing; of that which all tests visit, this is checked when it ends."""
    with running(tmp_path, "--checkpoint", str(checkpoint)) as server:
        visitor = Client(server.address, verbose=False, download_files=str(tmp_path / "answers"))
        visitor.predict(handle_file(wav), 0.7, 0, 0, api_name="/resynthesize")
        assert any(path.suffix == ".wav" for path in server.temporary.rglob("*"))
        time.sleep(1)
    assert_nothing_is_left(server)
    assert "Traceback" not in server.log.read_text()
