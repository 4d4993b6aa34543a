"""LJ Speech. SHA-256: torchaudio.datasets.LJSPEECH."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Table

RECIPE = Recipe(
    name="ljspeech",
    title="LJ Speech 1.1",
    homepage="https://keithito.com/LJ-Speech-Dataset",
    licence="public domain",
    language="en",
    hours="24",
    speakers="1",
    rate="22050",
    parts=(
        Part(
            name="",
            archive=Archive(
                url="https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
                checksum="sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
                size="2.6 GB",
            ),
            folder="LJSpeech-1.1",
        ),
    ),
    layouts=(Table(),),
)
