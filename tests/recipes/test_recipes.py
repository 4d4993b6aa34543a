"""Every recipe on a miniature of its corpus: downloaded, downloaded with troubles, and found on disk."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipe_miniatures import MINIATURES, TENTHS, Miniature, pack, unpacked, with_checksums
from recipe_server import Server

import recipes.download
from flowvocoder.data.manifest import Entry, read_manifest
from flowvocoder.data.splits import choose_split
from flowvocoder.errors import DataError
from recipes import RECIPES, prepare
from recipes.facts import Recipe

pytestmark = pytest.mark.parametrize("name", sorted(MINIATURES))


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All miniature archives in one folder."""
    folder = tmp_path_factory.mktemp("archives")
    for miniature in MINIATURES.values():
        for archive, tree in miniature.archives.items():
            pack(tree, folder / archive)
    return folder


@pytest.fixture
def server(archives: Path) -> Iterator[Server]:
    server = Server(archives)
    yield server
    server.close()


@pytest.fixture
def recipe(name: str, archives: Path) -> Recipe:
    return with_checksums(RECIPES[name], archives)


def check(manifest: Path, recipe: Recipe, miniature: Miniature) -> list[Entry]:
    """The manifest holds what the miniature does, in every field."""
    entries = list(read_manifest(manifest))
    assert {e.id: e.text for e in entries} == {f"{recipe.name}/{i}": t for i, t in miniature.ids.items()}
    speakers = miniature.speakers or frozenset({recipe.name})
    assert {e.speaker for e in entries} == speakers
    for entry in entries:
        official = miniature.splits.get(entry.id.removeprefix(f"{recipe.name}/"))
        grouped = re.sub(r"(_mic\d|_15927\d+)$", "", entry.id)
        assert entry.split == (official or choose_split(grouped, entry.speaker, speakers))
        assert (entry.rate, entry.language) == (miniature.rate, miniature.language)
        assert (entry.start, entry.duration) == (0, int(TENTHS * miniature.rate))
        audio = entry.audio_file(manifest.parent)
        assert hashlib.sha256(audio.read_bytes()).hexdigest() == entry.sha256
        assert not Path(entry.path).is_absolute()
    return entries


def test_downloads_once(name: str, recipe: Recipe, server: Server, tmp_path: Path) -> None:
    miniature, said = MINIATURES[name], []
    first = prepare(recipe, tmp_path, parts=miniature.parts, jobs=2, mirror=server.url, say=said.append)
    assert first.fresh and first.utterances == len(miniature.ids)
    check(first.manifest, recipe, miniature)
    assert len(server.requests) == len(miniature.archives)
    if any(part.archive.checksum is None for part in recipe.parts):
        assert any("nobody publishes a checksum" in line for line in said)

    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    again = prepare(recipe, tmp_path, parts=miniature.parts, mirror=server.url)
    assert again == dataclasses.replace(first, fresh=False, seconds=again.seconds)
    assert again.seconds == pytest.approx(first.seconds, abs=1e-3)
    assert len(server.requests) == len(miniature.archives), "asked the server again"
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == written, "wrote again"


def test_goes_on_after_a_broken_download(
    name: str, recipe: Recipe, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature = MINIATURES[name]
    monkeypatch.setattr(recipes.download, "PAUSES", ())
    server.faults = ["break"]
    with pytest.raises(DataError, match=r"broke off .* run again to continue"):
        prepare(recipe, tmp_path, parts=miniature.parts, mirror=server.url)
    assert not (tmp_path / "manifest.jsonl").exists()
    (partial,) = (tmp_path / "downloads").glob("*.part")
    kept = partial.stat().st_size
    assert kept == (server.root / partial.stem).stat().st_size // 2
    made = prepare(recipe, tmp_path, parts=miniature.parts, mirror=server.url)
    assert server.requests[1] == (f"/{partial.stem}", f"bytes={kept}-")
    check(made.manifest, recipe, miniature)
    assert not list((tmp_path / "downloads").glob("*.part*"))


def test_takes_a_folder_on_disk(name: str, recipe: Recipe, tmp_path: Path) -> None:
    miniature, source = MINIATURES[name], tmp_path / "there"
    for tree in miniature.archives.values():
        unpacked(tree, source)
    if name == "css10":  # its archive has no outer folder: this one must say which language it is
        source = source.rename(tmp_path / "de")
    out = tmp_path / "out"
    made = prepare(recipe, out, source=source)
    check(made.manifest, recipe, miniature)
    assert {p.name for p in out.iterdir()} == {"manifest.jsonl", "prepared.json"}, "copied the corpus"
    assert not prepare(recipe, out, source=source).fresh
    audio = next(p for p in sorted(source.rglob("*")) if p.suffix in (".wav", ".flac") and not p.name.startswith("._"))
    audio.write_bytes(audio.read_bytes())
    assert prepare(recipe, out, source=source).fresh, "did not see that a recording was written to"


def test_takes_archives_on_disk(name: str, recipe: Recipe, archives: Path, tmp_path: Path) -> None:
    miniature = MINIATURES[name]
    source = archives if len(miniature.archives) > 1 else archives / next(iter(miniature.archives))
    made = prepare(recipe, tmp_path, source=source, parts=miniature.parts)
    check(made.manifest, recipe, miniature)
    assert not (tmp_path / "downloads").exists()
    assert not prepare(recipe, tmp_path, source=source, parts=miniature.parts).fresh
