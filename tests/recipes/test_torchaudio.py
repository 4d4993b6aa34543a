"""Facts and layouts against torchaudio's own dataset classes, which know four of the corpora."""

from pathlib import Path

from recipe_miniatures import MINIATURES, pack, unpacked
from torchaudio import datasets
from torchaudio.datasets import cmuarctic, libritts, ljspeech, vctk

from recipes import RECIPES
from recipes.extract import extract


def test_checksums() -> None:
    release = ljspeech._RELEASE_CONFIGS["release1"]
    theirs = {**libritts._CHECKSUMS, **cmuarctic._CHECKSUMS, **vctk._CHECKSUMS, release["url"]: release["checksum"]}
    names = ("ljspeech", "libritts", "cmu-arctic", "vctk")
    ours = {part.archive.file: part.archive.checksum for name in names for part in RECIPES[name].parts}
    assert ours == {url.rsplit("/", 1)[1]: f"sha256:{checksum}" for url, checksum in theirs.items()}


def test_miniatures_are_what_torchaudio_reads(tmp_path: Path) -> None:
    for name, folder in (("ljspeech", "."), ("libritts", "."), ("cmu-arctic", "ARCTIC"), ("vctk", "VCTK-Corpus-0.92")):
        for tree in MINIATURES[name].archives.values():
            unpacked(tree, tmp_path / folder)
    assert [row[0] for row in datasets.LJSPEECH(tmp_path)._flist] == list(MINIATURES["ljspeech"].ids)
    read = {f"{part}/{stem}" for part in MINIATURES["libritts"].parts
            for stem in datasets.LIBRITTS(tmp_path, url=part)._walker}  # fmt: skip
    assert read == set(MINIATURES["libritts"].ids)
    lines = {f"{voice}/{line[0].split()[1]}" for voice in MINIATURES["cmu-arctic"].parts
             for line in datasets.CMUARCTIC(tmp_path, url=voice)._walker}  # fmt: skip
    assert lines == set(MINIATURES["cmu-arctic"].ids)
    samples = {f"mic1/{speaker}_{number}_mic1" for speaker, number in datasets.VCTK_092(tmp_path, "mic1")._sample_ids}
    # torchaudio passes over p315, whose texts are lost; a vocoder needs none.
    assert samples == set(MINIATURES["vctk"].ids) - {"mic1/p315_001_mic1"}


def test_unpacks_as_torchaudio_does(tmp_path: Path) -> None:
    """The same files with the same bytes, from tar and zip."""
    for name in ("ljspeech", "vctk"):
        ((file, tree),) = MINIATURES[name].archives.items()
        archive, ours, theirs = pack(tree, tmp_path / file), tmp_path / f"{name}-ours", tmp_path / f"{name}-theirs"
        extract(archive, ours)
        (datasets.utils._extract_zip if file.endswith("zip") else datasets.utils._extract_tar)(archive, theirs)
        files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (ours, theirs)]
        assert files[0] == files[1] and len(files[0]) == len(tree)
