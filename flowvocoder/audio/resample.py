"""Band-limited resampling."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from flowvocoder.extras import torchaudio

Floats = TypeVar("Floats", npt.NDArray[np.float32], npt.NDArray[np.float64])


def resample(samples: Floats, rate: int, new_rate: int) -> Floats:
    """Resamples audio (T,) with soxr at its highest quality; the type of the numbers stays.

    Args:
        rate, new_rate: in Hz.
    """
    import soxr

    return np.asarray(soxr.resample(samples, rate, new_rate, quality="VHQ"), dtype=samples.dtype)


def resample_on_device(
    samples: npt.NDArray[np.float32], rate: int, new_rate: int, device: str
) -> npt.NDArray[np.float32]:
    """Resamples audio (T,) with torchaudio, by one convolution that a GPU can do.

    A Kaiser window of 64 zero crossings makes it as good as soxr.
    """
    import torch

    resampled = torchaudio().functional.resample(
        torch.from_numpy(samples).to(device),
        rate,
        new_rate,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    return np.asarray(resampled.cpu().numpy(), dtype=np.float32)
