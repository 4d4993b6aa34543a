"""What can be chosen about the post-filter. Plain data, no torch."""

import dataclasses

from flowvocoder.settings import check_limits, limited, whole


@dataclasses.dataclass(frozen=True)
class PostfilterSettings:
    """How many iterations synthesis runs after the flow.

    Attributes:
        gl_iters: mel-consistency (Griffin-Lim) iterations over all bands.
        low_band_iters: further ones below 2 kHz; with a guide, the first ones below 1 kHz.
        rounds: frame-by-frame iterations over all bands for every hop, before the others; what streams run.
        low_rounds: further ones below 1 kHz; of no effect without `rounds`.
        look_ahead: hops by which frame-by-frame iterations delay the audio.

    Raises:
        ConfigError: a number outside of its limits.
    """

    gl_iters: int = limited(0, 0, 64)
    low_band_iters: int = limited(0, 0, 1024)
    rounds: int = limited(0, 0, 64)
    low_rounds: int = limited(0, 0, 64)
    look_ahead: int = limited(0, 0, 16)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, whole(f"postfilter.{name}", value))
        check_limits("postfilter", self)

    def chosen(self, gl_iters: int | None, low_band_iters: int | None) -> "PostfilterSettings":
        """These settings with others in place of them where they are not None.

        Low-band iterations refine what those over all bands leave, so gl_iters of 0 leaves out both.

        >>> PostfilterSettings(4, 40).chosen(None, 8)
        PostfilterSettings(gl_iters=4, low_band_iters=8, rounds=0, low_rounds=0, look_ahead=0)
        >>> PostfilterSettings(4, 40).chosen(0, None)
        PostfilterSettings(gl_iters=0, low_band_iters=0, rounds=0, low_rounds=0, look_ahead=0)
        """
        gl_iters = self.gl_iters if gl_iters is None else gl_iters
        own = self.low_band_iters if gl_iters else 0
        low_band_iters = own if low_band_iters is None else low_band_iters
        return dataclasses.replace(self, gl_iters=gl_iters, low_band_iters=low_band_iters)
