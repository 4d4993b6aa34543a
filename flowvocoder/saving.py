"""Where a voice is saved to: a folder, or the Hugging Face Hub."""

from pathlib import Path

import torch

from flowvocoder.checkpoint import CONFIG, WEIGHTS, Checkpoint, save_checkpoint
from flowvocoder.config import Experiment
from flowvocoder.errors import ConfigError
from flowvocoder.hub import PREFIX, push
from flowvocoder.unfinished import scratch
from flowvocoder.voice import Voice
from flowvocoder.voice_card import VoiceCard


class SavedVoice(Voice):
    """What can be saved of a `flowvocoder.vocoder.Vocoder`."""

    _experiment: Experiment | None = None

    def save_pretrained(self, path: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write a checkpoint folder, which `from_pretrained` loads.

        Args:
            dtype: of the stored weights; `torch.float16` halves the file. Loading always gives float32.

        Raises:
            OutputError: it cannot be written.
            ConfigError: the vocoder was made of a model alone: use `flowvocoder.checkpoint.save_checkpoint`.
        """
        if self._experiment is None:
            raise ConfigError("this vocoder does not know what it was trained with: use save_checkpoint")
        postfilter = None if self._experiment.postfilter is None else self.postfilter
        save_checkpoint(Path(path), Checkpoint(self.model, self._experiment, self.card, postfilter), dtype)

    def push_to_hub(
        self, repo: str, *, token: str | None = None, private: bool | None = None, message: str = "A flowvocoder voice"
    ) -> str:
        """Write the voice to the Hugging Face Hub as safetensors, configuration and card.

        Args:
            repo: `user/name`; made if there is none.
            token: with the right to write; None: the one that `hf auth login` keeps.
            private: of a new repository; None: as the account has it.
            message: of the commit.

        Returns the address of the commit.

        Raises:
            OutputError: the hub refuses, or cannot be reached.
            ConfigError: as `save_pretrained`, or huggingface_hub is not installed.
        """
        with scratch("hub") as folder:
            self.save_pretrained(folder / "voice")
            files: dict[str, Path | bytes] = {name: folder / "voice" / name for name in (CONFIG, WEIGHTS)}
            return push(repo, {**files, "README.md": _card(repo, self.card).encode()}, token, private, message)


def _card(repo: str, card: VoiceCard) -> str:
    """The page that the hub shows."""
    licence = card.licence.lower() if card.licence not in ("unknown", "") else "other"
    about = [f"Trained on {', '.join(card.training_data)}."] * bool(card.training_data)
    return f"""---
license: {licence}
library_name: flowvocoder
tags: [vocoder, normalizing-flow, speech]
---

# {card.name or repo.rpartition("/")[2]}

{" ".join([f"A voice for flowvocoder. Licence: {card.licence}.", *about])}

```python
from flowvocoder import Vocoder

vocoder = Vocoder.from_pretrained("{repo.removeprefix(PREFIX)}")
```
"""
