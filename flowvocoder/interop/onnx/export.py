"""ONNX files: a whole mel at once, or one streaming step with its state as inputs and outputs."""

import contextlib
import io
import json
import logging
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from flowvocoder.checkpoint import Checkpoint
from flowvocoder.errors import ConfigError
from flowvocoder.extras import library
from flowvocoder.files import writing
from flowvocoder.flows.recursion.reference import GROUP
from flowvocoder.interop.onnx.metadata import metadata
from flowvocoder.interop.onnx.modules import StepExport
from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.frame_by_frame import constants
from flowvocoder.postfilter.latency import of_stream
from flowvocoder.runtime.vocoder import POSTFILTER, ROUNDS, STEP

ROUNDS_AT_ONCE = 8
"""Of the pitch recursion, in one step of its loop."""

if TYPE_CHECKING:
    import onnx

    from flowvocoder.interop.onnx.storage import Storage
    from flowvocoder.streaming.flow import FlowStep


def export_onnx(checkpoint: Checkpoint, path: Path, step: bool, storage: "Storage" = "float32") -> None:
    """Write the model with its metadata (mel spec, licence, state) inside.

    The whole form holds the post-filter with the card's iterations. The step holds the rounds of a stream that nothing
    else is said of; where the card has no iterations, it is the flow alone.

    Args:
        storage: of the weights; what is computed stays in 32 bits.

    Raises:
        ConfigError: the export tools are not installed, or the model cannot be exported.
        OutputError: the file cannot be written.
    """
    model, flow = step_model(checkpoint)
    about, settings = metadata(checkpoint, flow, "step" if step else "whole"), of_stream(checkpoint.card.postfilter)
    if not step:
        from flowvocoder.interop.onnx.assembled import add_whole

        add_whole(model, flow, _postfilter(checkpoint), checkpoint.card.postfilter)
    elif settings.rounds:
        from flowvocoder.interop.onnx.rounds import add_rounds

        delay, states = add_rounds(model, about["delay"], flow.state_shapes, _postfilter(checkpoint), settings)
        about |= {"delay": delay, "state_shapes": states, "rounds": settings.rounds, "low_rounds": settings.low_rounds}
    _write(path, model, about, storage)


def export_folder(checkpoint: Checkpoint, folder: Path, storage: "Storage" = "float32") -> None:
    """Write what `flowvocoder.runtime` needs: a step of the flow, the post-filter, and the constants of its rounds.

    Args:
        storage: as of `export_onnx`.

    Raises what `export_onnx` raises.
    """
    model, flow = step_model(checkpoint)
    from flowvocoder.interop.onnx.assembled import postfilter_model

    postfilter = _postfilter(checkpoint)
    with writing(folder / ROUNDS) as temporary:
        written = io.BytesIO()  # `savez` would add a suffix to a path
        np.savez(written, **constants(postfilter.consistency, postfilter.low_band))
        temporary.write_bytes(written.getvalue())
    filtering = postfilter_model(postfilter, checkpoint.card.postfilter)
    _write(folder / POSTFILTER, filtering, metadata(checkpoint, flow, "postfilter"), storage)
    _write(folder / STEP, model, metadata(checkpoint, flow, "step"), storage)


def _postfilter(checkpoint: Checkpoint) -> PostFilter:
    return checkpoint.postfilter or PostFilter(checkpoint.experiment.mel)


def step_model(checkpoint: Checkpoint) -> "tuple[onnx.ModelProto, FlowStep]":
    """A step of the flow as a graph, and what it is of. Raises ConfigError as `export_onnx`."""
    onnx, values = library("onnx", "onnx"), library("onnxscript.values", "onnx")
    from flowvocoder.flows.recursion import onnx as recursion  # needs onnx, as does this
    from flowvocoder.interop.onnx.assembled import OPSET

    operator = values.Op(values.Opset(recursion.DOMAIN, 1), recursion.NAME, recursion.schema())

    def translated(e: Any, lag: Any, taps: Any, past: Any, groups: int) -> Any:
        return operator(e, lag, taps, past)

    module = StepExport(checkpoint.model)
    program, names = traced(module, batch=2)
    with quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=names[0],
            output_names=names[1],
            custom_translation_table={torch.ops.flowvocoder.pitch_recursion.default: translated},
            optimize=False,  # ONNX Runtime does that when it loads, in a fraction of the time
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    for part in (*model.graph.node, *model.graph.value_info):
        part.ClearField("metadata_props")  # where in whose files each operator was traced: a quarter of the bytes
    for groups, past in recursions(program):
        rounds = math.gcd(ROUNDS_AT_ONCE, module.step.block // (GROUP * groups))
        model.functions.append(recursion.function(groups, past, OPSET, rounds))
        model.opset_import.append(onnx.helper.make_opsetid(recursion.DOMAIN, 1))
    return model, module.step


def _write(path: Path, model: "onnx.ModelProto", about: dict[str, Any], storage: "Storage") -> None:
    import onnx

    from flowvocoder.interop.onnx.storage import store

    store(model, storage)
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    onnx.checker.check_model(model)
    with writing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def recursions(program: torch.export.ExportedProgram) -> set[tuple[int, int]]:
    """(groups at once, samples of the past) of the pitch recursion, if there is one.

    Raises:
        ConfigError: several that differ, for which a file has no room.
    """
    calls = [node.args for node in program.graph.nodes if "pitch_recursion" in str(node.target)]
    found = {(groups, int(past.meta["val"].shape[1])) for _, _, _, past, groups in calls}
    if len(found) > 1:
        raise ConfigError("a model whose pitch predictors differ in their range of lags cannot be exported as ONNX")
    return found


def traced(module: StepExport, batch: int) -> tuple[torch.export.ExportedProgram, tuple[list[str], list[str]]]:
    """The module as a graph with any batch and number of frames, and the names of its inputs and outputs."""
    step = module.step
    frames = 4 * ((step.delay // step.rate) + 2)
    items, time = torch.export.Dim("batch", min=1), torch.export.Dim("frames", min=1)
    mel = torch.zeros(batch, step.n_mels, frames)
    noise = torch.zeros(batch, step.block, frames * step.rate)
    state = [torch.zeros(batch, *shape) for shape in step.state_shapes]
    inputs = (mel, noise, torch.tensor(1), torch.full((batch,), frames), state)
    at = {0: items, 2: step.rate * time}
    shapes = ({0: items, 2: time}, at, None, {0: items}, [{0: items} for _ in state])
    numbers = range(len(state))
    names = (
        ["mel", "noise", "position", "length", *(f"state_{i}" for i in numbers)],
        ["audio", *(f"new_state_{i}" for i in numbers)],
    )
    with quiet(), torch.no_grad():
        return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False), names


@contextlib.contextmanager
def quiet() -> Any:
    """Without the exporter's notes to its own developers.

    And without the cache of what operators do to shapes: with sizes that are symbols, it costs more than it saves.
    """
    import torch._dynamo  # of no use elsewhere, and as large as torch

    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
