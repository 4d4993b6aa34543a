"""CSTR VCTK 0.92. SHA-256: torchaudio.datasets.VCTK_092.

mic1 is an omni-directional DPA 4035, mic2 a Sennheiser MKH 800 with a wider band, which failed for speakers p280 and
p315. The texts of p315 are lost.
"""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Tree

ARCHIVE = Archive(
    url="https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",
    checksum="sha256:f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
    size="11 GB",
)


def _part(microphone: str) -> Part:
    layout = Tree(
        title=f"VCTK (wav48_silence_trimmed/SPEAKER/*_{microphone}.flac and txt/)",
        audio=f"wav48_silence_trimmed/*/*_{microphone}.flac",
        text="txt/{speaker}/{group}.txt",
        speaker=r"/([^/]+)/[^/]+$",
        group=r"/([^/]+)_mic[12]\.flac$",
    )
    return Part(name=microphone, archive=ARCHIVE, layouts=(layout,))


RECIPE = Recipe(
    name="vctk",
    title="CSTR VCTK 0.92",
    homepage="https://datashare.ed.ac.uk/handle/10283/3443",
    licence="CC BY 4.0",
    language="en",
    hours="44",
    speakers="110",
    rate="48000",
    parts=(_part("mic1"), _part("mic2")),
    default=("mic1",),
    note="two microphones: mic1 has all speakers, mic2 is clearer and lacks p280 and p315",
)
