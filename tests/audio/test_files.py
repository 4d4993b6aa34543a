"""Reading recordings that cannot seek or do not say their length, and pipes; devices never stop a reader."""

import contextlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from helpers import speech_like

from flowvocoder.audio import files
from flowvocoder.audio.files import open_audio, piped, read_as_stored, read_audio
from flowvocoder.errors import AudioError

RATE = 22050
SPEECH = speech_like(4.0, RATE)


def flac_of_unknown_length(path: Path, audio: np.ndarray = SPEECH) -> Path:
    """As an encoder writes it into a pipe: it cannot go back to fill in how many samples there are."""
    encoded = io.BytesIO()
    sf.write(encoded, audio, RATE, format="FLAC", subtype="PCM_16")
    content = bytearray(encoded.getvalue())
    content[21] &= 0xF0  # the 36-bit count of samples in STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    return path


def gsm(path: Path) -> Path:
    sf.write(path, SPEECH, RATE, subtype="GSM610", format="WAV")
    return path


def test_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = flac_of_unknown_length(tmp_path / "a.flac")
    assert sf.info(path).frames == 2**63 - 1, "libsndfile knows the length: the file is no case any more"
    sf.write(tmp_path / "known.flac", SPEECH, RATE)
    expected = sf.read(tmp_path / "known.flac", dtype="float32")[0]
    assert np.array_equal(read_as_stored(path).samples, expected)
    assert np.array_equal(read_as_stored(path, 70_000, 9000).samples, expected[70_000:79_000])
    with pytest.raises(AudioError, match=f"holds {len(SPEECH)} samples, 88000 to 88300 are requested"):
        read_as_stored(path, 88_000, 300)
    with pytest.raises(
        AudioError, match=r"a\.flac: does not say its length, and holds more than 66150 samples \(3 s\)"
    ):
        read_as_stored(path, longest=3.0)
    assert len(read_as_stored(path, longest=4.0).samples) == len(SPEECH), "just so long"
    assert len(read_as_stored(path, 70_000, 9000, longest=1.0).samples) == 9000, "of the rest nothing is asked"


def test_stereo_of_unknown_length(tmp_path: Path) -> None:
    path = flac_of_unknown_length(tmp_path / "a.flac", np.stack([SPEECH, 0.5 * SPEECH], 1))
    read = read_as_stored(path)
    assert read.changes == ("2 channels averaged to mono",)
    assert np.abs(read.samples - 0.75 * SPEECH).max() < 1e-4


def test_channels_that_cancel_each_other_are_named(tmp_path: Path) -> None:
    for factor, said in ((-1.0, ", which cancel each other: little is left"), (-0.2, "")):
        sf.write(tmp_path / "a.wav", np.stack([SPEECH, factor * SPEECH], 1), RATE)
        assert read_as_stored(tmp_path / "a.wav").changes == (f"2 channels averaged to mono{said}",)


def test_gsm_is_read_and_its_stretches(tmp_path: Path) -> None:
    path = gsm(tmp_path / "a.wav")
    with sf.SoundFile(path) as file:
        assert not file.seekable(), "libsndfile can seek here: the file is no case any more"
    whole = read_as_stored(path).samples
    assert len(SPEECH) <= len(whole) < len(SPEECH) + 320  # blocks of 320 samples
    assert np.corrcoef(whole[: len(SPEECH)], SPEECH)[0, 1] > 0.9
    assert np.array_equal(read_as_stored(path, 70_000, 9000).samples, whole[70_000:79_000])


def test_what_is_decoded_without_a_known_length_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_UNSEEKABLE", len(SPEECH) - 1)
    with pytest.raises(AudioError, match=f"holds more than {len(SPEECH) - 1} samples"):
        read_as_stored(flac_of_unknown_length(tmp_path / "a.flac"))


@pytest.mark.slow
def test_what_a_header_claims_is_bounded(tmp_path: Path) -> None:
    sf.write(tmp_path / "slow.wav", SPEECH[:9000], 1)
    with pytest.raises(AudioError, match="says 1 Hz, expected 1000 to 768000"):
        read_as_stored(tmp_path / "slow.wav")
    with sf.SoundFile(tmp_path / "long.flac", "w", 8000, 1) as file:
        for _ in range(7):
            file.write(np.zeros(1000 * 8000, np.int16))
    assert (tmp_path / "long.flac").stat().st_size < 200_000
    with pytest.raises(AudioError, match="is 7000 s long, at most 6000 s"):
        read_audio(tmp_path / "long.flac", RATE)
    assert len(read_audio(tmp_path / "long.flac", 8000, 50_000_000, 100).samples) == 100


def test_infinite_samples_are_said_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    audio = np.stack([SPEECH, SPEECH], 1)
    audio[9] = np.inf, -np.inf
    sf.write(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="2 of 176400 samples are NaN or infinite"):
        read_as_stored(tmp_path / "a.wav")
    assert not [str(w.message) for w in recwarn]


def test_a_suffix_is_no_promise(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", SPEECH, RATE)
    (tmp_path / "a.wav").rename(tmp_path / "a.raw")
    with pytest.raises(AudioError, match=r"a\.raw: cannot be read as audio"):
        read_as_stored(tmp_path / "a.raw")


@pytest.mark.parametrize("start", ["sound", "damaged"])  # libsndfile then goes by the name
def test_the_decoder_of_mp3_keeps_its_notes_to_itself(
    start: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sf.write(tmp_path / "a.mp3", SPEECH, RATE, format="MP3")
    content = bytearray((tmp_path / "a.mp3").read_bytes())
    content[1500:6000] = bytes(4500)
    content[1] ^= 0x40 * (start == "damaged")
    (tmp_path / "a.mp3").write_bytes(content)
    with contextlib.suppress(sf.SoundFileError):
        sf.read(tmp_path / "a.mp3")
    assert "mpg123" in capfd.readouterr().err, "it says nothing any more: the file is no case"
    with contextlib.suppress(AudioError):
        read_as_stored(tmp_path / "a.mp3")
    os.write(2, b"ours")
    assert capfd.readouterr().err == "ours"


def test_a_damaged_file_of_unknown_length_is_refused(tmp_path: Path) -> None:
    path = flac_of_unknown_length(tmp_path / "a.flac")
    path.write_bytes(path.read_bytes()[:60] + bytes(2000))
    with pytest.raises(AudioError, match=r"a\.flac"):
        read_as_stored(path)


def feed(path: Path, content: bytes) -> threading.Thread:
    """A named pipe that gives `content` to whoever opens it."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(content,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("make", [flac_of_unknown_length, gsm])
def test_a_pipe_holds_what_the_file_does(make: Callable[[Path], Path], tmp_path: Path) -> None:
    file, pipe = make(tmp_path / "file"), tmp_path / "pipe"
    writer = feed(pipe, file.read_bytes())
    content = piped(pipe)
    writer.join(10)
    assert content == file.read_bytes()
    assert np.array_equal(read_audio(pipe, 16000, content=content).samples, read_audio(file, 16000).samples)


def test_only_pipes_and_devices_are_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert piped(gsm(tmp_path / "a.wav")) is None and piped(tmp_path) is None and piped(tmp_path / "none") is None
    monkeypatch.setattr(files, "MOST_PIPED", 1000)
    with pytest.raises(AudioError, match="/dev/zero: gives more than the 1000 bytes"):
        piped(Path("/dev/zero"))


def test_a_pipe_or_device_is_no_recording_of_a_collection(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "zero.wav"):
        with pytest.raises(AudioError, match=f"{name}: is a pipe or device"), open_audio(tmp_path / name):
            pass


@pytest.mark.filterwarnings("error")
def test_channels_beyond_all_numbers_are_refused_in_one_sentence(tmp_path: Path) -> None:
    stereo = np.zeros((4000, 2), np.float32)
    stereo[7] = np.finfo(np.float32).max
    sf.write(tmp_path / "a.wav", stereo, 22050, "FLOAT")
    with pytest.raises(AudioError, match=r"samples reach 3\.403e\+38, expected"):
        read_audio(tmp_path / "a.wav", 22050)
