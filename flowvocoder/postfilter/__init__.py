"""What happens after the flow: mel-consistency iterations, the guide network, the denoiser."""
