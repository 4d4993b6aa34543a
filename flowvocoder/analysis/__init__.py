"""What a recording looks like to a flow: its latent, the likelihood of damage, the signal after every layer."""
