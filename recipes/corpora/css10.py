"""CSS10, a reader a language (arXiv:1903.11269), as published on Kaggle. No checksum is published."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import NAME_TEXT_NORMALISED, Table

LANGUAGES = {
    "de": ("german", "16.7 h"),
    "el": ("greek", "4.1 h"),
    "es": ("spanish", "23.8 h"),
    "fi": ("finnish", "10.5 h"),
    "fr": ("french", "19.2 h"),
    "hu": ("hungarian", "10.0 h"),
    "ja": ("japanese", "14.9 h"),
    "nl": ("dutch", "14.1 h"),
    "ru": ("russian", "21.4 h"),
    "zh": ("chinese", "6.5 h"),
}


def _part(code: str, name: str, size: str) -> Part:
    archive = Archive(
        url=f"https://www.kaggle.com/api/v1/datasets/download/bryanpark/{name}-single-speaker-speech-dataset",
        checksum=None,
        size=size,
        name=f"{name}-single-speaker-speech-dataset.zip",
    )
    return Part(name=code, archive=archive, folder=archive.stem, speaker=f"css10-{code}", language=code)


RECIPE = Recipe(
    name="css10",
    title="CSS10",
    homepage="https://github.com/Kyubyong/css10",
    licence="public domain (LibriVox recordings)",
    language="de",
    hours="4 to 24 a language",
    speakers="1 a language",
    rate="22050",
    parts=tuple(_part(code, *facts) for code, facts in LANGUAGES.items()),
    default=("de",),
    layouts=(
        Table(
            title="CSS10 (transcript.txt and BOOK/*.wav)",
            tables=("transcript.txt",),
            line=NAME_TEXT_NORMALISED,
            audio="{name}",
        ),
    ),
)
