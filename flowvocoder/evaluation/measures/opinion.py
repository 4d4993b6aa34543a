"""What listeners would say of speech heard alone, predicted by DNSMOS: other people's weights and code."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from flowvocoder.evaluation.measures.perceptual import PESQ_RATE, at_16_khz
from flowvocoder.evaluation.measures.registry import measure
from flowvocoder.evaluation.signals import Pair, Values
from flowvocoder.extras import library


@measure("dnsmos", "DNSMOS", 2, "higher", group="dnsmos", charted=True)
@measure("dnsmos_gap", "DNSMOS under the recording's", 2, "zero", group="dnsmos")
def predicted_opinion(pair: Pair) -> dict[str, float]:
    """`dnsmos`, the overall score of DNSMOS P.835 (Reddy et al. 2022, 1 to 5), and what the recording has more."""
    recording, copy = (_overall(samples) for samples in at_16_khz(pair))
    return {"dnsmos": copy, "dnsmos_gap": recording - copy}


def _overall(samples: Values) -> float:
    peak = max(1.0, float(np.abs(samples).max()))  # it refuses samples above 1
    return float(_model()(samples / peak, PESQ_RATE, False)["ovrl_mos"])


@functools.cache
def _model() -> Any:
    onnxruntime = library("onnxruntime", "dnsmos")
    dnsmos = library("speechmos.dnsmos", "dnsmos")
    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    files = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
    model, options = dnsmos.DNSMOS(*files), onnxruntime.SessionOptions()
    # Its own take all cores, and wait for each other there.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model.onnx_sess, model.p808_onnx_sess = (onnxruntime.InferenceSession(file, options) for file in files)
    return model
