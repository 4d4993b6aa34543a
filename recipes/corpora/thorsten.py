"""Thorsten-Voice, neutral: two releases on Zenodo. Zenodo's pages show MD5s that could not be
read when this was written: add them as checksum="md5:..."."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Table

RECIPE = Recipe(
    name="thorsten",
    title="Thorsten-Voice (neutral)",
    homepage="https://www.thorsten-voice.de",
    licence="CC0 1.0",
    language="de",
    hours="23 and 11",
    speakers="1",
    rate="22050",
    parts=(
        Part(
            name="2021.02",
            archive=Archive(
                url="https://zenodo.org/record/5525342/files/thorsten-neutral_v03.tgz", checksum=None, size="about 3 GB"
            ),
            folder="thorsten-de_v03",
        ),
        Part(
            name="2022.10",
            archive=Archive(
                url="https://zenodo.org/record/7265581/files/ThorstenVoice-Dataset_2022.10.zip",
                checksum=None,
                size="1.4 GB",
            ),
            folder="ThorstenVoice-Dataset_2022.10",
        ),
    ),
    default=("2022.10",),
    layouts=(
        Table(
            title="Thorsten-Voice (metadata_SPLIT.csv and wavs/)",
            tables=("metadata_train.csv", "metadata_dev.csv", "metadata_val.csv", "metadata_test.csv"),
            splits={r"_train\.csv$": "train", r"_(dev|val)\.csv$": "validation", r"_test\.csv$": "test"},
        ),
        Table(),
    ),
    note="two releases of the same voice: 2022.10 is the more natural, 2021.02 the longer",
)
