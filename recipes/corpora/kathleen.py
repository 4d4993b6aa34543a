"""The Kathleen voice (Rhasspy). GitHub makes the archive anew at times: no checksum can be published."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Table, Tree

RECIPE = Recipe(
    name="kathleen",
    title="Kathleen (Rhasspy)",
    homepage="https://github.com/rhasspy/dataset-voice-kathleen",
    licence="CC0 1.0",
    language="en",
    hours="about 1.4",
    speakers="1",
    rate="48000",
    parts=(
        Part(
            name="",
            archive=Archive(
                url="https://github.com/rhasspy/dataset-voice-kathleen/archive/refs/heads/master.tar.gz",
                checksum=None,
                size="under 1 GB",
                name="dataset-voice-kathleen.tar.gz",
            ),
        ),
    ),
    layouts=(
        Tree(
            title="Kathleen (data/*.wav with *.txt)",
            audio="data/*.wav",
            text="{folder}/{stem}.txt",
            # 1619 recordings of 1132 sentences: arctic_a0001_1592748574 and so on, by the second of the recording.
            group=r"/([^/]+)_[0-9]+\.wav$",
        ),
        Table(),
    ),
)
