"""A pretended GPU: `pytest -p pretend_device -k cuda` runs what needs CUDA on a machine that has none.

PyTorch sees the device `cuda:0`. It computes on the CPU and refuses what a GPU refuses: see `pretend_device.cpp`. It
knows no Triton, no CUDA graphs, no streams and no NCCL. A process that pretends does so to its end.
"""

import ctypes
import hashlib
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

SOURCE = Path(__file__).with_suffix(".cpp")
_CACHE = SOURCE.parents[1] / ".pytest_cache" / "pretend_device"


def build() -> Path:
    """The library for this PyTorch, compiled where it is not there yet: half a minute."""
    key = hashlib.sha256(f"{torch.__version__} {SOURCE.read_text('utf-8')}".encode()).hexdigest()[:16]
    library, torch_folder = _CACHE / f"{key}.so", Path(torch.__file__).parent
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        new = library.with_name(f"{key}.{os.getpid()}")
        include = torch_folder / "include"
        subprocess.run(
            ["g++", "-std=c++20", "-w", "-shared", "-fPIC", f"-I{include}", f"-I{include / 'torch/csrc/api/include'}",
             f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}", str(SOURCE), "-o", str(new),
             f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"],
            check=True,
        )  # fmt: skip
        new.replace(library)
    return library


def pretend() -> None:
    """From now on this process has a GPU. Raises RuntimeError if it has a true one."""
    if torch.cuda.is_available():
        raise RuntimeError("there is a GPU: no need to pretend")
    ctypes.CDLL(str(build())).pretend_cuda()
    for name, stands_for in _python_side().items():
        setattr(torch.cuda, name, stands_for)
    torch.UntypedStorage.clone = _clone  # type: ignore[method-assign]
    from flowvocoder.flows.recursion import choice, reference

    choice._on_cuda = lambda: reference  # type: ignore[assignment]  # without Triton


def _python_side() -> dict[str, Any]:
    """What `torch.cuda` asks the driver, where that is not one of the operators."""

    def say(value: Any = None) -> Any:
        return lambda *_, **__: value  # one function a name: torch.compile's rules go by the function

    return {
        "_lazy_init": say(), "_lazy_call": lambda call, **_: call(), "is_available": say(True), "device_count": say(1),
        "current_device": say(0), "set_device": say(), "synchronize": say(), "is_bf16_supported": say(True),
        "get_device_name": say("pretended"), "get_device_capability": say((9, 0)), "max_memory_allocated": say(0),
        "reset_peak_memory_stats": say(), "default_generators": (torch.Generator("cuda"),), "empty_cache": say(),
        "is_current_stream_capturing": say(False),
        "get_device_properties": say(SimpleNamespace(name="pretended", major=9, minor=0, total_memory=2**34)),
    }  # fmt: skip


def _clone(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """For `copy.deepcopy`: PyTorch's own asks CUDA's allocator, and no operator."""
    memory = torch.empty(0, dtype=torch.uint8, device=storage.device)
    return memory.set_(storage).clone().untyped_storage()  # type: ignore[call-overload, no-any-return]


def pytest_configure() -> None:
    """As a plugin: before any test file is read, which asks whether there is a GPU."""
    pretend()
