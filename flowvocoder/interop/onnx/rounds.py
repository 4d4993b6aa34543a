"""The constants of frame-by-frame iterations, for `flowvocoder.runtime`."""

import io
from typing import Any

import numpy as np

from flowvocoder.postfilter.chain import PostFilter
from flowvocoder.postfilter.consistency import MAX_GAIN, MelConsistency


def rounds_file(postfilter: PostFilter) -> bytes:
    """An `.npz` of what `RealTimeIterations` computes with, over all bands and, named `low_...`, over the low one."""
    band = postfilter.low_band
    arrays = {**_constants(postfilter.consistency, ""), **_constants(band.consistency, "low_")}
    arrays |= {"down": band.down.numpy(), "up": band.up.numpy(), "reach": np.array(band.reach)}
    written = io.BytesIO()
    np.savez(written, **arrays)
    return written.getvalue()


def _constants(step: MelConsistency, prefix: str) -> dict[str, Any]:
    buffers = {name: value.numpy() for name, value in step.named_buffers()}
    numbers = {name: getattr(step, name) for name in ("hop", "size", "left", "decimate", "bands", "nats")}
    values = {**buffers, **numbers, "max_gain": MAX_GAIN}
    return {prefix + name: np.asarray(value) for name, value in values.items()}
