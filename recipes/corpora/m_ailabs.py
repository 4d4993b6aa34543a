"""The M-AILABS Speech Dataset, a language an archive. No checksum is published.

Its page says that six recordings named in the metadata are missing. Where a book was read by several people the
speaker is not known; they share the name "mixed".
"""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Table

LANGUAGES = {
    "de_DE": ("de", "20 GB"),
    "en_UK": ("en", "3.5 GB"),
    "en_US": ("en", "7.5 GB"),
    "es_ES": ("es", "8.3 GB"),
    "fr_FR": ("fr", "15 GB"),
    "it_IT": ("it", "9.5 GB"),
    "pl_PL": ("pl", "4.2 GB"),
    "ru_RU": ("ru", "3.6 GB"),
    "uk_UK": ("uk", "6.7 GB"),
}


def _part(tag: str, language: str, size: str) -> Part:
    archive = Archive(url=f"https://data.solak.de/data/Training/stt_tts/{tag}.tgz", checksum=None, size=size)
    return Part(name=tag, archive=archive, folder=tag, speaker=f"mixed-{tag}", language=language)


RECIPE = Recipe(
    name="m-ailabs",
    title="M-AILABS",
    homepage="https://github.com/imdatceleste/m-ailabs-dataset",
    licence="free for any use, with the notice (BSD-style); Ukrainian: machine learning only",
    language="de",
    hours="46 to 237 a language, 1000 in all",
    speakers="a few a language",
    rate="16000",
    parts=tuple(_part(tag, *facts) for tag, facts in LANGUAGES.items()),
    default=("de_DE",),
    layouts=(
        Table(
            title="M-AILABS (by_book/GENDER/SPEAKER/BOOK/metadata.csv and wavs/)",
            tables=("by_book/**/metadata.csv",),
            speaker=r"/by_book/(?:female|male)/([^/]+)/",
        ),
    ),
    known_gaps=True,
    note="its author's newer server has the same names: --mirror https://ics.tau-ceti.space/data/Training/stt_tts",
)
