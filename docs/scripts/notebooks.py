"""Runs the notebooks and keeps what they plot: python docs/scripts/notebooks.py [NAME ...]

Sounds and warnings are left out, and plots are kept as JPEG, so that a notebook stays below half a megabyte.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
QUALITY = 75


def run(path: Path) -> None:
    """With a kernel of its own, in a folder that is deleted."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        ExecutePreprocessor(timeout=3600, record_timing=False).preprocess(notebook, {"metadata": {"path": folder}})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [small(o) for o in cell.outputs if o.get("name") != "stderr" and not is_sound(o)]
    nbformat.write(notebook, path)


def is_sound(output: Any) -> bool:
    return "audio" in output.get("data", {}).get("text/html", "")


def small(output: Any) -> Any:
    """An output whose plot is a JPEG."""
    if "image/png" in output.get("data", {}):
        content = io.BytesIO()
        plot = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))).convert("RGB")
        plot.save(content, "JPEG", quality=QUALITY)
        output.data = {"image/jpeg": base64.b64encode(content.getvalue()).decode()}
    return output


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb")):
        run(NOTEBOOKS / f"{name}.ipynb")
        print(name, (NOTEBOOKS / f"{name}.ipynb").stat().st_size // 1000, "kB", flush=True)
