"""Voices go to the hub and come back; from a poisoned repository nothing but weights and settings is taken."""

import hashlib
import importlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import Hub, hub_server
from tiny_models import TINY

from flowvocoder.checkpoint import CONFIG, WEIGHTS, Checkpoint, build_model, save_checkpoint, signed
from flowvocoder.cli.main import main
from flowvocoder.config import Experiment, TrainConfig
from flowvocoder.errors import CheckpointError, OutputError
from flowvocoder.hub import hub_name
from flowvocoder.mel.spec import MelSpec
from flowvocoder.vocoder import Vocoder
from flowvocoder.voice_card import VoiceCard

pytest.importorskip("huggingface_hub")
constants = importlib.import_module("huggingface_hub.constants")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, an empty cache, and an empty folder to run in."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with hub_server() as one:
        monkeypatch.setattr(constants, "ENDPOINT", one.address)
        template = one.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield one
        monkeypatch.undo()


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint."""
    experiment = Experiment(TINY["squeezewave"], MelSpec(n_mels=8), TrainConfig())
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("voice") / "v"
    save_checkpoint(folder, Checkpoint(build_model(experiment), experiment, VoiceCard(name="small", licence="CC0-1.0")))
    return folder


def files(voice: Path) -> dict[str, bytes]:
    return {name: (voice / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def same(one: Vocoder, other: Vocoder) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.slow
def test_a_voice_goes_to_the_hub_and_comes_back(hub: Hub, voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Vocoder.from_pretrained(voice)
    address = mine.push_to_hub("me/small", token="right")
    (commit, there), *_ = hub.revisions["me/small"].items()
    assert address.endswith(commit) and set(there) == {CONFIG, WEIGHTS, "README.md"}
    assert b"license: cc0-1.0" in there["README.md"] and b'from_pretrained("me/small")' in there["README.md"]
    assert same(Vocoder.from_pretrained("me/small"), mine)
    asked = len(hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(Vocoder.from_pretrained("me/small"), mine) and len(hub.asked) == asked, "from the cache"
    assert main(["info", "hf:me/small"]) == 0
    with pytest.raises(CheckpointError, match=r"^hf:me/other: .*cache"):
        Vocoder.from_pretrained("me/other")


@pytest.mark.slow
def test_a_revision_stays_what_it_was(hub: Hub, voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = hub.commit("me/small", files(voice))
    hub.tags["me/small", "v1"] = first
    torch.manual_seed(1)
    loaded = Vocoder.from_pretrained(voice)
    for weight in loaded.model.parameters():
        weight.mul_(1.5)
    loaded.push_to_hub("hf:me/small", token="right", message="Louder")
    assert same(Vocoder.from_pretrained("me/small"), loaded)
    for old in (
        Vocoder.from_pretrained("me/small", revision="v1"),
        Vocoder.from_pretrained("me/small", revision=first),
        Vocoder.from_pretrained("hf:me/small@v1"),
    ):
        assert same(old, Vocoder.from_pretrained(voice))
    assert main(["info", "hf:me/small@v2"]) == 2
    assert capsys.readouterr().err.endswith("flowvocoder: hf:me/small@v2: there is no such revision\n")


@pytest.mark.slow
def test_a_poisoned_repository(hub: Hub, voice: Path, tmp_path: Path) -> None:
    """What is not weights or settings is never asked for; those are refused unless they are what they say."""
    bad = {"pytorch_model.bin": pickle.dumps(print), "model.pkl": b"x", "../../evil": b"x", "a/../../evil.py": b"x"}
    hub.commit("me/small", {**files(voice), **bad})
    assert Vocoder.from_pretrained("me/small").card.name == "small"
    assert {line.rpartition("/")[2] for line in hub.asked} == {CONFIG, WEIGHTS}
    altered = bytearray(files(voice)[WEIGHTS])
    altered[-1] ^= 1
    config = json.loads(files(voice)[CONFIG])
    giant = {**config["model"], "channels": 4096}
    poisons: dict[str, tuple[dict[str, bytes], str]] = {
        "weights": ({WEIGHTS: bytes(altered)}, "SHA-256"),
        "a pickle as weights": ({WEIGHTS: pickle.dumps(print)}, "SHA-256"),
        "settings": ({CONFIG: files(voice)[CONFIG].replace(b'"small"', b'"smell"')}, "SHA-256"),
        "no settings": ({CONFIG: b"<html>"}, "altered"),
        "giant": ({CONFIG: signed({**config, "model": giant}).encode()}, "holds fewer"),
        "a pickle with its hash": (_with_hash(config, pickle.dumps(print) * 10**5), "does not fit"),
    }
    for name, (content, said) in poisons.items():
        hub.commit("me/bad", {**files(voice), **content})
        with pytest.raises(CheckpointError, match=said):
            Vocoder.from_pretrained("me/bad")
        assert "me/bad" in hub.revisions, name
    hub.commit("me/pickles", {"pytorch_model.bin": pickle.dumps(print)})
    with pytest.raises(CheckpointError, match="holds no voice"):
        Vocoder.from_pretrained("me/pickles")
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not {name for name in kept if "evil" in name or name.endswith((".bin", ".pkl"))}


def _with_hash(config: dict[str, object], weights: bytes) -> dict[str, bytes]:
    stated = {**config, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    return {WEIGHTS: weights, CONFIG: signed(stated).encode()}


@pytest.mark.slow
def test_what_claims_too_much_is_not_fetched(hub: Hub, voice: Path) -> None:
    hub.commit("me/small", files(voice))
    hub.sizes[WEIGHTS] = 2**40
    with pytest.raises(CheckpointError, match=f"has {2**40} bytes"):
        Vocoder.from_pretrained("me/small")
    assert not [line for line in hub.asked if line.startswith("GET") and WEIGHTS in line]


def test_nothing_is_written_outside_of_the_cache(hub: Hub, voice: Path, tmp_path: Path) -> None:
    """Where the server itself names places elsewhere."""
    hub.commit("me/small", files(voice))
    hub.etags[WEIGHTS] = "../../../../../here/evil"
    before = {path for path in tmp_path.rglob("*") if tmp_path / "cache" not in path.parents}
    with pytest.raises(CheckpointError, match="is no hash"):
        Vocoder.from_pretrained("me/small")
    after = {path for path in tmp_path.rglob("*") if tmp_path / "cache" not in path.parents}
    assert after - before <= {tmp_path / "cache"}


@pytest.mark.slow
def test_refusals_are_one_sentence(hub: Hub, voice: Path) -> None:
    for name in ("me/none", "hf:me/none@v1"):
        with pytest.raises(CheckpointError, match=r"there is no such repository"):
            Vocoder.from_pretrained(name)
    for name in ("hf:", "hf:me", "hf:../../etc", "hf:me/../x", "hf:me/small@../main", "hf:me/small/extra"):
        with pytest.raises(CheckpointError, match=r"is named hf:user/repo"):
            Vocoder.from_pretrained(name)
    for token in (None, "wrong"):
        with pytest.raises(OutputError, match=r"^me/small: "):
            Vocoder.from_pretrained(voice).push_to_hub("me/small", token=token)
    with pytest.raises(OutputError, match="user/repo"):
        Vocoder.from_pretrained(voice).push_to_hub("small", token="right")


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder here goes first: a mistyped path inside of one asks nobody."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub_name("me/voice") == "hf:me/voice" and hub_name("me/voice", "v1") == "hf:me/voice@v1"
    assert hub_name("runs/voice") == "runs/voice" and hub_name(Path("me/voice")) == Path("me/voice")
    assert hub_name("bundled") == "bundled" and hub_name(None) is None and hub_name("a/b/c") == "a/b/c"
    with pytest.raises(CheckpointError, match="a revision is of a voice on the hub"):
        hub_name("bundled", "v1")


@pytest.mark.slow
def test_a_voice_is_added_under_a_name(
    hub: Hub, voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    hub.commit("me/small", files(voice))
    assert main(["voices", "add", "me/small"]) == main(["voices", "add", str(voice), "--name", "other"]) == 0
    capsys.readouterr()
    assert main(["voices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows][-2:] == ["other", "small"] and rows[0]["default"]
    assert same(Vocoder.from_pretrained("small"), Vocoder.from_pretrained(voice)) and main(["info", "other"]) == 0
    hub.commit("me/broken", {**files(voice), WEIGHTS: b"no weights"})
    for arguments, problem in (
        (["me/small"], "is there already"), ([str(voice), "--name", "../x"], "cannot be a voice's name"),
        (["me/small", "--name", rows[0]["name"]], "a voice of the package"), (["me/broken"], "truncated or altered"),
        (["mistyped"], "mistyped: no such folder"), ([str(voice), "--name", ""], "cannot be a voice's name"),
    ):  # fmt: skip
        assert main(["voices", "add", *arguments]) == 2 and problem in capsys.readouterr().err
    assert main(["voices", "add", "me/small", "--force"]) == 0
    assert {path.name for path in (tmp_path / "data" / "flowvocoder" / "voices").iterdir()} == {"other", "small"}
