"""Hi-Fi TTS (arXiv:2104.01497). No checksum is published. The manifests are the official split, of every reader."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import JsonTable

RECIPE = Recipe(
    name="hifi-tts",
    title="Hi-Fi TTS",
    homepage="https://www.openslr.org/109",
    licence="CC BY 4.0",
    language="en",
    hours="292",
    speakers="10",
    rate="44100",
    parts=(
        Part(
            name="",
            archive=Archive(
                url="https://www.openslr.org/resources/109/hi_fi_tts_v0.tar.gz", checksum=None, size="41 GB"
            ),
            folder="hi_fi_tts_v0",
        ),
    ),
    layouts=(
        JsonTable(
            title="Hi-Fi TTS (READER_manifest_QUALITY_SPLIT.json and audio/)",
            tables=("*_manifest_*.json",),
            line="text_normalized",
            speaker=r"/([0-9]+)_manifest_",
            splits={r"_train\.json$": "train", r"_dev\.json$": "validation", r"_test\.json$": "test"},
        ),
    ),
)
