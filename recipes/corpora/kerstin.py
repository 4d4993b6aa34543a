"""The Kerstin voice (Rhasspy), its verified recordings. GitHub makes the archive anew at times: no checksum."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Table

RECIPE = Recipe(
    name="kerstin",
    title="Kerstin (Rhasspy)",
    homepage="https://github.com/rhasspy/dataset-voice-kerstin",
    licence="CC0 1.0",
    language="de",
    hours="about 1.8",
    speakers="1",
    rate="48000",
    parts=(
        Part(
            name="",
            archive=Archive(
                url="https://github.com/rhasspy/dataset-voice-kerstin/archive/refs/heads/master.tar.gz",
                checksum=None,
                size="under 1 GB",
                name="dataset-voice-kerstin.tar.gz",
            ),
        ),
    ),
    layouts=(
        Table(title="Kerstin (metadata.csv and verified/)", audio="verified/{name}"),
        Table(),
    ),
)
