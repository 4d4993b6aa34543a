"""Mel files of strangers: three formats read, everything else refused, and nothing in them is run."""

import gc
import pickle
import re
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from flowvocoder.audio.files import read_audio
from flowvocoder.cli.main import main
from flowvocoder.errors import AudioError, MelError
from flowvocoder.mel.arrays import forget, frames_of, read_array
from flowvocoder.mel.diagnose import conventions_it_could_be
from flowvocoder.mel.files import decode_mel, npy_bytes, read_mel
from flowvocoder.mel.spec import convention

MEL = np.linspace(-11, 1, 80 * 30, dtype=np.float32).reshape(80, 30)


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object]]:
        return Path.touch, (self.path,)


def refusal(path: Path, most: int = 10**6) -> str:
    with pytest.raises(MelError) as caught:
        read_array(path, most)
    return str(caught.value)


def test_three_formats_give_the_same_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(MEL))
    np.savez_compressed(tmp_path / "b.npz", mel=MEL, other=MEL[:3])
    np.savez(tmp_path / "c.npz", anything=MEL)
    torch.save(torch.from_numpy(MEL).bfloat16().float().T.contiguous().T, tmp_path / "d.pt")
    torch.save({"mel": torch.from_numpy(MEL), "other": 3}, tmp_path / "e.pt")
    for name in ("a.npy", "b.npz", "c.npz", "e.pt"):
        assert np.array_equal(read_array(tmp_path / name), MEL), name
    assert np.allclose(read_array(tmp_path / "d.pt"), MEL, atol=0.05)


def test_a_mapped_file_gives_the_same_array_and_is_read_again_once_forgotten(tmp_path: Path) -> None:
    for name, array in (("a", MEL), ("b", np.asfortranarray(MEL)), ("c", MEL.astype(np.float16))):
        path = tmp_path / f"{name}.npy"
        np.save(path, array)
        mapped = read_array(path, mapped=True)
        forget(mapped[None, :, 3:])
        assert np.array_equal(frames_of(mapped[None], 5, 99), array[None, :, 5:]), name
        assert mapped.dtype == array.dtype and np.array_equal(mapped, array), name
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(MelError, match=f"is truncated: {array.nbytes - 1} of {array.nbytes} bytes"):
            read_array(path, mapped=True)
    forget(MEL)  # of no file


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    np.save(tmp_path / "a.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", mel=np.array([Payload(marker)], dtype=object))
    torch.save({"mel": torch.from_numpy(MEL), "extra": Payload(marker)}, tmp_path / "c.pt")
    torch.save(Payload(marker), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "d.pt").write_bytes(pickle.dumps(Payload(marker)))
    for name in ("a.npy", "b.npz", "c.pt", "old.pt", "d.pt"):
        refusal(tmp_path / name)
    assert not marker.exists()


@pytest.mark.slow
def test_claims_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (80, 10000000000), }".ljust(117) + "\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.encode())
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "mel.npy")
    torch.save(torch.zeros(1).expand(80, 10**10), tmp_path / "c.pt")
    for name in ("a.npy", "b.npz", "c.pt"):
        assert "800000000000 values" in refusal(tmp_path / name), name
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(450 * 2**20))
    assert (tmp_path / "bomb.pt").stat().st_size < 10**6
    assert "unpacks to" in refusal(tmp_path / "bomb.pt")


def test_other_content_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npz", "c.pt", "d.txt"):
        (tmp_path / name).write_text("not an array")
        assert name in refusal(tmp_path / name)
    np.save(tmp_path / "whole.npy", MEL.astype(np.int32))
    assert "int32" in refusal(tmp_path / "whole.npy")
    np.save(tmp_path / "whole.npy", MEL)
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    assert "truncated" in refusal(tmp_path / "cut.npy")
    np.savez(tmp_path / "two.npz", one=MEL, two=MEL)
    assert "called mel" in refusal(tmp_path / "two.npz")
    for tensor, word in ((torch.zeros(3, dtype=torch.int64), "int64"), ("text", "no tensor"),
                         (torch.zeros(3, 3).to_sparse(), "no tensor")):  # fmt: skip
        torch.save(tensor, tmp_path / "t.pt")
        assert word in refusal(tmp_path / "t.pt")


def npy(descr: str, shape: str = "(80, 3)", body: int = 960) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(body)


DAMAGED = {
    "items of 200 MB": (npy("'|V200000000'", "(1,)"), "void|V2"),
    "items of text": (npy("'<U50000000'", "(1,)"), "<U"),
    "a header cut short": (npy("'<f4'")[:40], "not a .npy file"),
    "a header that is no Python": (npy("'<f4'", "(80, 3").replace(b"}", b"("), "not a .npy file"),
    "a header of brackets": (npy("(" * 9000), "not a .npy file"),
    "a negative shape": (npy("'<f4'", "(-80, -3)"), "claims shape"),
    "a shape of a thousand digits": (npy("'<f4'", f"({'9' * 1000},)"), "claims shape"),
    "halves": (npy("'<f2'", body=10), "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_arrays_are_refused(case: str, archived: bool, tmp_path: Path) -> None:
    content, words = DAMAGED[case]
    path = tmp_path / ("a.npz" if archived else "a.npy")
    if archived:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("mel.npy", content)
    else:
        path.write_bytes(content)
    assert re.search(words, refusal(path))


@pytest.mark.parametrize(("field", "value"), [(8, 1), (10, 1), (10, 14), (10, 99)])
def test_archives_in_ways_that_are_not_read(field: int, value: int, tmp_path: Path) -> None:
    """Encrypted, and of methods that are unknown or do not fit what is there."""
    np.savez_compressed(tmp_path / "a.npz", mel=MEL)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.find(b"PK\x01\x02") + field] = value
    content[field - 2] = value
    (tmp_path / "a.npz").write_bytes(content)
    assert re.search(r"not an? \.np[yz] file of numbers", refusal(tmp_path / "a.npz"))


def test_tensors_that_are_no_plain_arrays(tmp_path: Path) -> None:
    torch.save(torch._neg_view(torch.from_numpy(MEL)), tmp_path / "negative.pt")
    assert np.array_equal(read_array(tmp_path / "negative.pt"), -MEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {
            "nested": torch.nested.nested_tensor([torch.zeros(80, 2), torch.zeros(80, 3)]),
            "sparse": torch.zeros(80, 3).to_sparse(),
            "meta": torch.zeros(80, 3, device="meta"),
            "float4": torch.zeros(80, 3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        }
        for name, tensor in odd.items():
            torch.save(tensor, tmp_path / f"{name}.pt")
            assert name in refusal(tmp_path / f"{name}.pt")


@pytest.mark.slow
def test_numbers_that_are_infinite_in_32_bits(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    np.save(tmp_path / "a.npy", np.where(MEL > 0, 1e300, MEL.astype(np.float64)))
    with pytest.raises(MelError, match="values are NaN or infinite"):
        read_mel(tmp_path / "a.npy", convention("tacotron2"), trust=True)
    assert not recwarn


@pytest.mark.parametrize("shape", [(), (80,), (3, 80), (2, 80, 3)])
def test_mels_in_archives_are_checked_as_in_files(shape: tuple[int, ...]) -> None:
    with pytest.raises(MelError, match=r"x\.tar: has"):
        decode_mel(npy_bytes(np.zeros(shape, np.float32)), Path("x.tar"), convention("tacotron2"))


@pytest.mark.slow
def test_the_command_line_reads_them_too(checkpoint: Path, wav: Path, tmp_path: Path) -> None:
    assert main(["mel", str(wav), str(tmp_path / "m.npy"), "--checkpoint", str(checkpoint)]) == 0
    torch.save(torch.from_numpy(np.load(tmp_path / "m.npy")), tmp_path / "m.pt")
    for name in ("m.npy", "m.pt"):
        arguments = ["--checkpoint", str(checkpoint), "--seed", "1", "--trust-mel"]
        assert main(["synth", str(tmp_path / name), str(tmp_path / f"{name}.wav"), *arguments]) == 0
    assert (tmp_path / "m.npy.wav").read_bytes() == (tmp_path / "m.pt.wav").read_bytes()


def test_conventions_that_fit(wav: Path, tmp_path: Path) -> None:
    from flowvocoder.voice_card import BUNDLED_VOICE

    recording = BUNDLED_VOICE.parent.parent / "examples" / "kathleen.flac"
    for name, others in (("tacotron2", {"hifigan"}), ("hifigan", {"tacotron2"}), ("vocos", set()),
                         ("parallelwavegan", set())):  # fmt: skip
        assert main(["mel", str(recording), str(tmp_path / "m.npy"), "--convention", name]) == 0
        assert set(conventions_it_could_be(np.load(tmp_path / "m.npy"))) - others == {name}


def test_long_recordings_are_refused_by_their_header(wav: Path) -> None:
    read_audio(wav, 22050, longest=1.3)
    with pytest.raises(AudioError, match="at most 1 s are taken"):
        read_audio(wav, 22050, longest=1.0)


def test_headers_are_read_in_several_threads() -> None:
    """Python 3.11.7 fails if one thread parses while another, which parses too, collects garbage."""
    content, refused, met = npy_bytes(np.zeros((80, 3), np.float32)), [], 0

    def read() -> None:
        try:
            decode_mel(content, Path("x"), convention("tacotron2"))
        except MelError as error:
            refused.append(str(error))

    class Garbage:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            nonlocal met
            if sys._getframe(1).f_code.co_name == "parse" and met < 10:  # collected by the parser of a header
                met += 1
                other = threading.Thread(target=read)
                other.start()
                other.join(0.01)  # it may wait for this one

    before = gc.get_threshold()
    try:
        for allocations in range(1000):
            gc.disable()
            Garbage()
            gc.set_threshold(8 + allocations % 60)
            gc.enable()
            read()
    finally:
        gc.set_threshold(*before)
    assert not refused
    assert met or sys.version_info >= (3, 12), "there, garbage is collected between two lines of Python alone"
