"""What a program keeps of what it has done."""

import subprocess
import sys

import pytest

SHAPES = """
import ctypes
from flowvocoder.cli.main import as_program
with as_program():
    import torch
    class Heap(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in ("all", *"bcdefg", "used", "free", "top")]
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Heap
    torch.set_num_threads(1)
    layer, used = torch.nn.Conv1d(64, 64, 3), []
    with torch.inference_mode():
        for length in range(512, 1312):
            layer(torch.zeros(1, 64, length))
            used.append(libc.mallinfo2().used)
    print(used[-1] - used[299])
"""


@pytest.mark.slow
def test_recordings_of_other_lengths_do_not_fill_memory() -> None:
    """PyTorch prepares convolutions for each length that it meets: 500 further ones would keep 13 MB."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the heap is looked at by a function of glibc")
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, timeout=300, check=True)
    assert int(done.stdout) < 1e6
