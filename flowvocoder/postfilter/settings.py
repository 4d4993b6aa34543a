"""What can be chosen about the post-filter. Plain data, no torch."""

import dataclasses

from flowvocoder.settings import check_limits, limited, whole


@dataclasses.dataclass(frozen=True)
class PostfilterSettings:
    """How many iterations synthesis runs after the flow.

    Attributes:
        gl_iters: mel-consistency (Griffin-Lim) iterations over all bands.
        low_band_iters: further ones below 1 kHz.

    Raises:
        ConfigError: a number outside of its limits.
    """

    gl_iters: int = limited(0, 0, 64)
    low_band_iters: int = limited(0, 0, 1024)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, whole(f"postfilter.{name}", value))
        check_limits("postfilter", self)

    def chosen(self, gl_iters: int | None, low_band_iters: int | None) -> "PostfilterSettings":
        """These settings with others in place of them where they are not None.

        Low-band iterations refine what those over all bands leave, so gl_iters of 0 leaves out both.

        >>> PostfilterSettings(4, 40).chosen(None, 8)
        PostfilterSettings(gl_iters=4, low_band_iters=8)
        >>> PostfilterSettings(4, 40).chosen(0, None)
        PostfilterSettings(gl_iters=0, low_band_iters=0)
        """
        gl_iters = self.gl_iters if gl_iters is None else gl_iters
        own = self.low_band_iters if gl_iters else 0
        return PostfilterSettings(gl_iters, own if low_band_iters is None else low_band_iters)
