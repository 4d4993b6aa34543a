"""The package's layers: imports go down only, never up and never round."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

from torch import nn

from flowvocoder.flows.base import Chain
from flowvocoder.flows.density import FlowVocoder
from flowvocoder.mel.spec import MelSpec

PACKAGE = Path(__file__).parent.parent / "flowvocoder"
RECIPES = PACKAGE.parent / "recipes"

# From the bottom up. A module may import from its own layer's folder and from any layer below.
LAYERS = [
    {"ending", "errors", "renamed", "units"},
    {"threads", "unfinished"},
    {"extras", "files", "inference", "legacy", "progress", "parallel", "settings", "tars"},
    {"audio", "cluster", "elementary"},
    {"lanes", "mel"},
    {"flows", "postfilter"},
    {"checks", "voice_card"},
    {"runtime"},
    {"hub", "migration"},
    {"config"},
    {"models", "density"},
    {"presets", "streaming", "voice"},
    {"checkpoint", "data", "synthesis"},
    {"saving"},
    {"vocoder", "prepare"},
    {"batches", "interop", "text"},
    {"training"},
    {"evaluation", "adapt"},
    {"analysis", "anomaly"},
    {"audit"},
    {"web"},
    {"demo"},
    {"server"},
    {"cli"},
]


@functools.cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("flowvocoder"):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("flowvocoder")}
    return found


def modules() -> dict[str, Path]:
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("flowvocoder", *path.relative_to(PACKAGE).with_suffix("").parts)
        names[".".join(p for p in parts if p != "__init__")] = path
    return names


def layer_of(module: str) -> int:
    room = module.split(".")[1]
    return next(index for index, rooms in enumerate(LAYERS) if room in rooms)


def test_imports_go_down_only() -> None:
    wrong = []
    for module, path in modules().items():
        if module.count(".") == 0 or module == "flowvocoder.__main__":
            continue
        for target in imports(path):
            if target.count(".") == 0:
                continue
            same_room = module.split(".")[1] == target.split(".")[1]
            if not same_room and layer_of(target) >= layer_of(module):
                wrong.append(f"{module} imports {target}")
    assert not wrong, wrong


def test_the_density_knows_nothing_of_the_post_filter() -> None:
    wrong = [
        (module, target)
        for module, path in modules().items()
        for target in imports(path)
        if module.split(".")[1:2] in (["flows"], ["models"], ["density"])
        and target.startswith("flowvocoder.postfilter")
    ]
    assert not wrong, wrong
    fields = {name for name, _ in FlowVocoder(MelSpec(), nn.Identity(), Chain([]), 8).named_children()}
    assert fields == {"encoder", "flow"}


def test_no_import_cycles() -> None:
    graph = {module: imports(path) for module, path in modules().items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module not in done and module in graph:
            for target in graph[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        if module != "flowvocoder":  # the top imports Vocoder lazily
            visit(module, ())


def test_only_one_module_imports_librosa() -> None:
    """`extras` does, since processes that compile parts of it at the same time crash."""
    rooms = [PACKAGE.parent / room for room in ("flowvocoder", "recipes", "demo", "tests")]
    files = [path for room in rooms for path in room.rglob("*.py")]
    assert not [path for path in files if re.search(r"^ *(import|from) librosa", path.read_text(), re.M)]


def test_package_and_help_import_no_torch() -> None:
    """`--help` of the command and of every command below it."""
    code = (
        "import sys, flowvocoder, flowvocoder.cli.main as m\n"
        "def show(parser):\n"
        "    parser.format_help()\n"
        "    groups = [a.choices.values() for a in parser._actions if isinstance(a.choices, dict)]\n"
        "    return 1 + sum(show(sub) for subs in groups for sub in subs)\n"
        "assert show(m.parser()) > 20\n"
        "bad = {'torch', 'torchaudio', 'librosa', 'numpy', 'soundfile', 'matplotlib', 'gradio'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_processes_that_prepare_and_audit_import_no_torch() -> None:
    """Each would wait two seconds for it, and keep some 200 MB."""
    code = (
        "import sys, flowvocoder.audit.audit, flowvocoder.prepare.run, recipes.cli\n"
        "assert 'numpy' in sys.modules\n"
        "bad = {'torch', 'torchaudio', 'librosa', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_stay_readable() -> None:
    files = [*PACKAGE.rglob("*.py"), *RECIPES.rglob("*.py")]
    long = {str(p): n for p in files if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_recipes_use_the_package_and_facts_are_only_facts() -> None:
    users = [p for p in PACKAGE.rglob("*.py") if re.search(r"^\s*(from|import) recipes", p.read_text(), re.M)]
    assert users == [PACKAGE / "cli" / "corpus.py"]
    assert not re.search(r"^(from|import) recipes", users[0].read_text(), re.M), "must be lazy"
    allowed = r"^(?:from (?:recipes\.(?:facts|layouts|lists|corpora\.\w+)|pathlib)|import dataclasses)"
    for path in (RECIPES / "corpora").glob("[!_]*.py"):
        imported = re.findall(r"^(?:from|import) .*", path.read_text(), re.M)
        assert imported and all(re.match(allowed, line) for line in imported), path
