"""Everything that happens to audio after the flow: mel consistency, the low-band guide, the denoiser."""
