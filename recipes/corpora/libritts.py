"""LibriTTS (arXiv:1904.02882). SHA-256: torchaudio.datasets.LIBRITTS; the split is in the names of the parts.

Speakers of the dev and test parts are in no other part: both are splits of unseen speakers.
"""

from recipes.facts import Archive, Part, Recipe
from recipes.layouts import Tree

LAYOUT = Tree(
    title="LibriTTS (SPEAKER/CHAPTER/*.wav with *.normalized.txt)",
    text="{folder}/{stem}.normalized.txt",
    speaker=r"/([0-9]+)_[0-9]+_[^/]*$",
    splits={r"(?:^|/)train-": "train", r"(?:^|/)dev-": "validation", r"(?:^|/)test-": "test"},
)


def _part(name: str, size: str, sha256: str) -> Part:
    archive = Archive(url=f"https://www.openslr.org/resources/60/{name}.tar.gz", checksum=f"sha256:{sha256}", size=size)
    return Part(name=name, archive=archive, folder=f"LibriTTS/{name}")


RECIPE = Recipe(
    name="libritts",
    title="LibriTTS",
    homepage="https://www.openslr.org/60",
    licence="CC BY 4.0",
    language="en",
    hours="585",
    speakers="2456",
    rate="24000",
    parts=(
        _part("dev-clean", "1.2 GB", "da0864e1bd26debed35da8a869dd5c04dfc27682921936de7cff9c8a254dbe1a"),
        _part("dev-other", "0.9 GB", "d413eda26f3a152ac7c9cf3658ef85504dfb1b625296e5fa83727f5186cca79c"),
        _part("test-clean", "1.2 GB", "234ea5b25859102a87024a4b9b86641f5b5aaaf1197335c95090cde04fe9a4f5"),
        _part("test-other", "1.0 GB", "33a5342094f3bba7ccc2e0500b9e72d558f72eb99328ac8debe1d9080402f10d"),
        _part("train-clean-100", "7.7 GB", "c5608bf1ef74bb621935382b8399c5cdd51cd3ee47cec51f00f885a64c6c7f6b"),
        _part("train-clean-360", "27 GB", "ce7cff44dcac46009d18379f37ef36551123a1dc4e5c8e4eb73ae57260de4886"),
        _part("train-other-500", "44 GB", "e35f7e34deeb2e2bdfe4403d88c8fdd5fbf64865cae41f027a185a6965f0a5df"),
    ),
    layouts=(LAYOUT,),
)
