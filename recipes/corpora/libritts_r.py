"""LibriTTS-R, LibriTTS restored (arXiv:2305.18802). MD5: the list published at openslr.org/141."""

import dataclasses

from recipes.corpora.libritts import RECIPE as LIBRITTS
from recipes.facts import Archive, Part


def _part(name: str, size: str, md5: str) -> Part:
    url = f"https://www.openslr.org/resources/141/{name.replace('-', '_')}.tar.gz"
    return Part(name=name, archive=Archive(url=url, checksum=f"md5:{md5}", size=size), folder=f"LibriTTS_R/{name}")


RECIPE = dataclasses.replace(
    LIBRITTS,
    name="libritts-r",
    title="LibriTTS-R",
    homepage="https://www.openslr.org/141",
    parts=(
        _part("dev-clean", "1.3 GB", "2c1f5312914890634cc2d15783032ff3"),
        _part("dev-other", "1.0 GB", "62d3a80ad8a282b6f31b3904f0507e4f"),
        _part("test-clean", "1.2 GB", "4d373d453eb96c0691e598061bbafab7"),
        _part("test-other", "1.0 GB", "dbc0959d8bdb6d52200595cabc9995ae"),
        _part("train-clean-100", "8.1 GB", "6df668d8f5f33e70876bfa33862ad02b"),
        _part("train-clean-360", "28 GB", "382eb3e64394b3da6a559f864339b22c"),
        _part("train-other-500", "46 GB", "a37a8e9f4fe79d20601639bf23d1add8"),
    ),
)
