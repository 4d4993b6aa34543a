"""JSUT 1.1 (arXiv:1711.00354). No checksum is published."""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import NAME_COLON_TEXT, Table

RECIPE = Recipe(
    name="jsut",
    title="JSUT 1.1",
    homepage="https://sites.google.com/site/shinnosuketakamichi/publication/jsut",
    licence="audio: research, non-commercial and personal use, no redistribution; text: CC BY-SA and others",
    language="ja",
    hours="10",
    speakers="1",
    rate="48000",
    parts=(
        Part(
            name="",
            archive=Archive(
                url="http://ss-takashi.sakura.ne.jp/corpus/jsut_ver1.1.zip", checksum=None, size="about 2.7 GB"
            ),
            folder="jsut_ver1.1",
        ),
    ),
    layouts=(
        Table(
            title="JSUT (SUBSET/transcript_utf8.txt and SUBSET/wav/)",
            tables=("*/transcript_utf8.txt",),
            line=NAME_COLON_TEXT,
            audio="wav/{name}",
        ),
    ),
)
