"""Adversarial training: the discriminators with their optimiser, and what they say of samples."""

import torch
from torch import Tensor

from flowvocoder.training.discriminators import Discriminators, adversarial_loss, discriminator_loss, feature_loss
from flowvocoder.training.distributed import DistributedContext

LEARNING_RATE = 2e-4
"""Peak learning rate of the discriminators, HiFi-GAN's."""


class Adversary:
    """The discriminators, what they say of samples, and their own training."""

    def __init__(self, channels: int, processes: DistributedContext):
        self.lr = LEARNING_RATE
        self.net = Discriminators(channels).to(processes.device)
        self.parallel = processes.parallel(self.net)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=self.lr, betas=(0.8, 0.99), fused=True)

    def losses(self, recorded: Tensor, sample: Tensor) -> dict[str, Tensor]:
        """`discriminator` trains the discriminators alone, `adversarial` and `features` the flow alone."""
        # One pass over both, since a data-parallel module runs forward once for each backward.
        half = len(recorded)
        both = self.parallel(torch.cat([recorded, sample.detach()]))
        of_recorded = [(score[:half], [f[:half] for f in features]) for score, features in both]
        own = discriminator_loss(of_recorded, [(score[half:], []) for score, _ in both])
        self.net.requires_grad_(False)
        of_sample = self.net(sample)
        self.net.requires_grad_(True)
        reference = [(score, [f.detach() for f in features]) for score, features in of_recorded]
        return {
            "adversarial": adversarial_loss(of_sample),
            "features": feature_loss(reference, of_sample),
            "discriminator": own,
        }
