"""Runs the Dockerfile's steps without a container engine: python docs/scripts/container.py TARGET FOLDER [STAGE=FOLDER]

Each stage gets a virtual environment of this Python in place of its base image, and a folder for /opt/flowvocoder.
USER and all that says how the image is started are left out. STAGE=FOLDER: a stage that was run before.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docs" / "containers" / "Dockerfile"
INSIDE = "/opt/flowvocoder"

Steps = list[tuple[str, str]]


def stages(text: str) -> dict[str, Steps]:
    """The instructions of each stage, those of the stage that it begins from first."""
    found: dict[str, Steps] = {}
    steps: Steps = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            steps = found[name] = list(found.get(image, []))
        elif line and not line.startswith("#"):
            steps.append((word, rest))
    return found


class Builder:
    """Stages in folders below one folder; those in `done` are there already."""

    def __init__(self, folder: Path, done: dict[str, Path]):
        self.folder, self.done, self.stages = folder, done, stages(DOCKERFILE.read_text(encoding="utf-8"))

    def build(self, name: str) -> Path:
        """The folder of a stage."""
        if name not in self.done:
            self.done[name] = self.folder / name
            self._run(self.stages[name], self.done[name])
        return self.done[name]

    def _run(self, steps: Steps, root: Path) -> None:
        root.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", str(root / "venv")], check=True)
        settings = {"PATH": f"{root / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        for word, rest in steps:
            if word in ("ENV", "ARG"):
                given = dict(part.partition("=")[::2] for part in shlex.split(rest))
                asked = os.environ if word == "ARG" else {}
                settings |= {key: asked.get(key, value.replace(INSIDE, str(root))) for key, value in given.items()}
            elif word == "COPY":
                self._copy(shlex.split(rest), root)
            elif word == "RUN":
                print(f"{root.name}: {rest}", flush=True)
                command = ["sh", "-ec", rest.replace(INSIDE, str(root))]
                subprocess.run(command, cwd=root, env={**inherited, **settings}, check=True)

    def _copy(self, words: list[str], root: Path) -> None:
        *options, source, target = words
        if options:
            stage = self.build(options[0].removeprefix("--from="))
            shutil.copytree(stage / Path(source).relative_to(INSIDE), root / target)
            return
        kept = [line[1:] for line in Path(f"{DOCKERFILE}.dockerignore").read_text().splitlines() if line[0] == "!"]
        for name in kept:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            (root / target).mkdir(exist_ok=True)
            copy(ROOT / name, root / target / name)


if __name__ == "__main__":
    target, folder, *given = sys.argv[1:]
    ready = {name: Path(path) for name, _, path in (pair.partition("=") for pair in given)}
    made = Builder(Path(folder), ready).build(target)
    size = sum(path.lstat().st_size for path in made.rglob("*") if path.is_file())
    print(f"{made}: {size / 1e6:.0f} MB, without the base image")
