"""A detector as a folder: two sets of tensors and a configuration. Never a pickle."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from flowvocoder.anomaly.calibration import Calibration
from flowvocoder.anomaly.discontinuities import BREAK_FEATURES, BREAKS
from flowvocoder.anomaly.evidence import LINES, Evidence, Network
from flowvocoder.anomaly.features import EDGE, FEATURES, NAMES
from flowvocoder.anomaly.novelty import COLUMNS, Novelty
from flowvocoder.anomaly.spectrogram_network import SpectrogramNetwork
from flowvocoder.anomaly.steady import STEADY
from flowvocoder.anomaly.trees import Trees
from flowvocoder.density import FlowDensity
from flowvocoder.errors import CheckpointError, OutputError
from flowvocoder.files import check_folder, read_json, readable_folder, reading, sha256_of, writing_folder
from flowvocoder.voice_card import BUNDLED_VOICE

FORMAT_VERSION = 6
WEIGHTS, CONFIG, NOVELTY = "model.safetensors", "config.json", "novelty"
VOICE_WEIGHTS = "model.safetensors"
KEYS = {"detector_format", "damages", "usual", "seconds", "features", "voice_sha256", "weights_sha256"}

Array = npt.NDArray[np.float64]

Parts = tuple[Evidence, Novelty, tuple[float, float], Calibration, tuple[str, ...]]
"""What `AnomalyDetector` is made of."""


def check(path: Path) -> None:
    """Raises OutputError where no detector can be saved: a file, or a folder that holds something else."""
    check_folder(path)
    others = sorted({file.name for file in path.iterdir()} - {WEIGHTS, CONFIG, NOVELTY}) if path.is_dir() else []
    if others:
        raise OutputError(f"{path}: holds {others[0]}, and so is not replaced: name another folder")


def save(path: Path, evidence: Evidence, novelty: Novelty, usual: tuple[float, float], calibration: Calibration,
         damages: tuple[str, ...]) -> None:  # fmt: skip
    """Write the folder under a temporary name, then rename it. Raises OutputError as `check`, or for a full disk."""
    check(path)
    arrays = {
        "novelty.middle": novelty.middle, "novelty.scale": novelty.scale,
        "calibration.scores": calibration.scores, "calibration.peaks": calibration.peaks,
    }  # fmt: skip
    arrays |= {f"evidence.{name}": array for name, array in _arrays(evidence).items()}
    tensors = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    with writing_folder(path) as folder:
        novelty.save(folder / NOVELTY)
        save_file(tensors, folder / WEIGHTS)
        config = {
            "detector_format": FORMAT_VERSION,
            "damages": list(damages),
            "usual": [float(value) for value in usual],
            "seconds": float(calibration.seconds),
            "features": [*FEATURES],
            "voice_sha256": flow_sha256(),
            "weights_sha256": sha256_of(folder / WEIGHTS),
        }
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Parts:
    """Read a folder.

    Raises:
        CheckpointError: missing, truncated, altered, of a newer format, or fitted with another bundled voice.
    """
    config_file, weights = readable_folder(path) / CONFIG, readable_folder(path) / WEIGHTS
    if not (config_file.is_file() and weights.is_file()):
        raise CheckpointError(f"{path}: not a detector: expected a folder with {WEIGHTS}, {CONFIG} and {NOVELTY}")
    config = _config(config_file)
    if sha256_of(weights) != config["weights_sha256"]:
        raise CheckpointError(f"{weights}: truncated or altered: its SHA-256 is not the one {CONFIG} states")
    if config["features"] != [*FEATURES] or config["voice_sha256"] != flow_sha256():
        raise CheckpointError(f"{path}: was fitted to features of another version or voice: `anomaly fit` fits it anew")
    with reading(weights, CheckpointError, "not the weights of a detector"):
        tensors = load_file(weights)
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise CheckpointError(f"{weights}: holds values that are not finite")
        found = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        pieces, breaks = (Network(*_own(found, name, Network)) for name in ("pieces", "breaks"))
        edges, tones, hums = (Trees(*_own(found, name, Trees)) for name in ("edges", "tones", "hums"))
        centre, spread, stay, seen, prior, usual_lines = (
            found[f"evidence.{name}"] for name in ("middle", "scale", "stay", "seen", "prior", "usual")
        )
        start = "evidence.spectra."
        spectra = SpectrogramNetwork.of(
            {name[len(start) :]: torch.from_numpy(array) for name, array in found.items() if name.startswith(start)}
        )
        evidence = Evidence(centre, spread, pieces, breaks, edges, tones, hums, stay, spectra, seen, prior, usual_lines)
        middle, scale, scores, peaks = (
            found[name] for name in ("novelty.middle", "novelty.scale", "calibration.scores", "calibration.peaks")
        )
        damages = tuple(map(str, config["damages"]))
        usual = float(config["usual"][0]), float(config["usual"][1])
        calibration = Calibration(scores, peaks, float(config["seconds"]))
        columns = len(NAMES)
        shapes = {"middle": (columns,), "scale": (columns,), "usual": (len(LINES), 2), "seen": seen.shape, "stay": (2,)}
        shapes |= {"prior": (len(damages),)}
        shapes |= {f"spectra.{key}": tuple(tensor.shape) for key, tensor in spectra.state_dict().items()}
        shapes |= _shapes("pieces", pieces, 4 * columns, len(damages))
        shapes |= _shapes("breaks", breaks, len(BREAK_FEATURES), len(BREAKS))
        grown = {"edges": (edges, NAMES[EDGE]), "tones": (tones, STEADY), "hums": (hums, STEADY)}
        for name, (trees, _) in grown.items():
            shapes |= {f"{name}.{key}": shape for key, shape in trees.shapes().items()}
        if {name: array.shape for name, array in _arrays(evidence).items()} != shapes or middle.shape != (
            len(COLUMNS),
        ):
            raise CheckpointError(f"{weights}: weights of other shapes than {CONFIG} says")
        if not all(trees.fits(len(judged)) for trees, judged in grown.values()):
            raise CheckpointError(f"{weights}: trees over columns that there are not")
        if seen.shape != (spectra.damages,) or not {*seen.tolist(), *stay.tolist()} <= set(range(len(damages))):
            raise CheckpointError(f"{weights}: spectrograms or lines show damages that there are not")
        if not len(scores) == len(peaks) > 0:
            raise CheckpointError(f"{weights}: the calibration is not complete")
    density = FlowDensity.load(readable_folder(path) / NOVELTY)
    if density.n_features_in_ != len(COLUMNS):
        raise CheckpointError(f"{path / NOVELTY}: of {density.n_features_in_} columns, expected {len(COLUMNS)}")
    return evidence, Novelty(density, middle, scale), usual, calibration, damages


def _own(found: dict[str, Array], name: str, part: type[Network] | type[Trees]) -> list[Array]:
    """The arrays of one part of the evidence, in their order."""
    return [found[f"evidence.{name}.{field.name}"] for field in dataclasses.fields(part)]


def _arrays(evidence: Evidence) -> dict[str, Array]:
    """By name, those of networks and trees with a dot."""
    found: dict[str, Array] = {}
    for name, part in vars(evidence).items():
        if isinstance(part, np.ndarray):
            found[name] = part
        elif isinstance(part, SpectrogramNetwork):
            found |= {f"{name}.{key}": tensor.numpy() for key, tensor in part.state_dict().items()}
        else:
            found |= {f"{name}.{key}": array for key, array in vars(part).items()}
    return found


def _shapes(name: str, network: Network, inputs: int, kinds: int) -> dict[str, tuple[int, ...]]:
    """Of a network's arrays, which says itself how many units it has."""
    units = len(network.first)
    shapes = {"middle": (inputs,), "scale": (inputs,), "first": (units, inputs + 1), "second": (kinds + 1, units + 1)}
    return {f"{name}.{key}": shape for key, shape in shapes.items()}


@functools.cache
def flow_sha256() -> str:
    """Of the weights of the flow whose latent is looked at, without those of its voice's post-filter."""
    digest, path = hashlib.sha256(), BUNDLED_VOICE / VOICE_WEIGHTS
    with reading(path, CheckpointError, "not the weights of a voice"), safe_open(path, "numpy") as weights:
        for name in sorted(weights.keys()):
            if name.startswith("model."):
                digest.update(name.encode() + weights.get_tensor(name).tobytes())
    return digest.hexdigest()


def _config(file: Path) -> dict[str, Any]:
    problem = "not the configuration of a detector"
    config = read_json(file, CheckpointError, problem)
    if not isinstance(config, dict) or "detector_format" not in config:
        raise CheckpointError(f"{file}: {problem}")
    version = config["detector_format"]
    if type(version) is int and version > FORMAT_VERSION:
        newer = f"format {version} is newer than this program's {FORMAT_VERSION}"
        raise CheckpointError(f"{file}: {newer}: update flowvocoder")
    if type(version) is int and version < FORMAT_VERSION:
        raise CheckpointError(f"{file}: of format {version}, and not {FORMAT_VERSION}: `anomaly fit` fits it anew")
    if set(config) != KEYS:
        raise CheckpointError(f"{file}: altered: {problem}")
    return config
