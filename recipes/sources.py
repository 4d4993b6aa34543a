"""Where the parts of a corpus are: downloaded and unpacked here, or on disk already."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from flowvocoder.errors import DataError
from flowvocoder.files import reason
from recipes.download import download, record, recorded, verify
from recipes.extract import extract
from recipes.facts import Archive, Layout, Part, Recipe, Report


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A part of a corpus on disk, and the layout that fits it."""

    part: Part
    layout: Layout
    root: Path
    archive: Path | None = None
    checksum: str | None = None  # of the archive, where it is known
    unpacked: Path | None = None  # the folder that the archive was unpacked to


def find_downloaded(recipe: Recipe, parts: Sequence[Part], out: Path, mirror: str | None, say: Report) -> list[Found]:
    """Download and unpack what is not there yet."""
    found = []
    for part in parts:
        if part.archive is None:
            raise DataError(f"{recipe.name}: nothing to download: give your recordings with --source")
        target = out / "downloads" / part.archive.file
        unpacked = out / "corpus" / part.archive.stem
        if not unpacked.is_dir():
            _download(part.archive, target, mirror, say)
        found.append(_unpack(recipe, part, target, unpacked))
    return found


def find_source(
    recipe: Recipe, parts: Sequence[Part], source: Path, out: Path, named: bool, say: Report
) -> list[Found]:
    """Look for the parts in a folder or archive that the user has.

    Args:
        named: the user named these parts: all must be there. Otherwise those of them that are there do, or any
            other parts of the corpus.
    """
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    # One part alone may begin right in the folder; of several, the folder's name has to say which one it is.
    whole = (named and len(parts) == 1) or len({part.archive for part in recipe.parts}) == 1
    candidates = [parts] if named else [parts, recipe.parts]
    found: list[Found] = []
    for some in candidates:
        found = found or [one for part in some if (one := _in_source(recipe, part, source, out, whole))]
    there = {one.part.name for one in found}
    missing = [part.name for part in parts if part.name not in there]
    if not found or (missing and named):
        layouts = "; ".join(dict.fromkeys(layout.title for part in parts for layout in _layouts(recipe, part)))
        hint = "" if whole or named else "; --part NAME says which part a folder is"
        name = recipe.title + (f" ({', '.join(missing)})" if missing != [""] else "")
        raise DataError(f"{source}: {name} is not in it: looked for {layouts}{hint}")
    if missing:
        say(f"{source}: without {', '.join(missing)}")
    return found


def fingerprint(source: Path) -> str:
    """Changes when a file in the source is added, removed, resized or written to; contents are not read."""
    digest = hashlib.sha256(str(source.absolute()).encode("utf-8", "surrogatepass"))
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        try:
            status = path.stat()
        except OSError:
            continue
        if not path.is_dir():
            name = str(path).encode("utf-8", "surrogatepass")
            digest.update(name + f"|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _download(archive: Archive, target: Path, mirror: str | None, say: Report) -> None:
    url = archive.url if mirror is None else f"{mirror.rstrip('/')}/{archive.file}"
    if target.exists():
        # Complete downloads have their record; a file without one was put here by hand, or the program was killed.
        if recorded(target) is None:
            record(target, _check(archive, target))
        return
    say(f"downloading {url} ({archive.size})")
    seen = download(url, target, archive.checksum)
    if archive.checksum is None:
        say(f"{archive.file}: nobody publishes a checksum; its SHA-256 {seen} is recorded and expected from now on")


def _check(archive: Archive, path: Path) -> str:
    try:
        found = verify(path, archive.checksum)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})") from error
    return found


def _in_source(recipe: Recipe, part: Part, source: Path, out: Path, whole: bool) -> Found | None:
    if part.archive is None or source.is_dir():
        found = _fit(recipe, part, source, whole)
        if found is not None or part.archive is None:
            return found
    archive = source / part.archive.file if source.is_dir() else source
    if not archive.is_file() or (archive.name != part.archive.file and not whole):
        return None
    # Another archive of the same name must not pass for the one that was unpacked before.
    unpacked = out / "corpus" / f"{part.archive.stem}-{fingerprint(archive)[:8]}"
    if not unpacked.is_dir():
        try:
            _check(part.archive, archive)
        except DataError as error:
            raise DataError(f"{error}; if you packed it yourself, unpack it and give the folder") from error
    return _unpack(recipe, part, archive, unpacked)


def _unpack(recipe: Recipe, part: Part, archive: Path, folder: Path) -> Found:
    if not folder.is_dir():
        extract(archive, folder)
    found = _fit(recipe, part, folder, whole=True)
    if found is None:
        titles = "; ".join(layout.title for layout in _layouts(recipe, part))
        raise DataError(f"{archive}: unpacked to {folder}, but {recipe.title} is not in it: looked for {titles}")
    checksum = recorded(archive) or (part.archive.checksum if part.archive else None)
    return dataclasses.replace(found, archive=archive, checksum=checksum, unpacked=folder)


def _layouts(recipe: Recipe, part: Part) -> tuple[Layout, ...]:
    return part.layouts or recipe.layouts


def _fit(recipe: Recipe, part: Part, folder: Path, whole: bool) -> Found | None:
    """The first layout that fits one of the places where the part may be below `folder`.

    Args:
        whole: the folder is this part's and no other's, so the layout may begin right there.
    """
    for root in _places(part, folder, whole):
        for layout in _layouts(recipe, part):
            if layout.found(root):
                return Found(part, layout, root)
    return None


def _places(part: Part, folder: Path, whole: bool) -> Iterator[Path]:
    """Where people keep a corpus: as the archive unpacks, or without its outer folders, or by the part's name."""
    last = part.folder.rsplit("/", 1)[-1]
    if part.folder:
        yield folder / part.folder
        yield folder / last
    if part.name:
        yield folder / part.name
    if whole or folder.absolute().name in (last, part.name):
        yield folder
    if whole and not part.folder and folder.is_dir():
        # GitHub names the outer folder by the branch or commit.
        inner = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name != "__MACOSX"]
        if len(inner) == 1:
            yield inner[0]
