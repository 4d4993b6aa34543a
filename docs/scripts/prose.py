"""Words a sentence of Markdown pages: python docs/scripts/prose.py [PAGE.md ...] (default: all written pages)."""

import re
import sys
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
PEOPLE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
"""Pages outside the site that people read, too."""

NO_PROSE = re.compile(r"^(\s*[#>!<]|\s*\[[^\]]+\]:|(---|===)|\s*:::)")
"""Headings, images, HTML and link definitions."""

CELL = 10
"""From so many words on a cell of a table is prose."""

MARK = re.compile(r"^\s*([-*+]|\d+\.)\s+")
END_OF_SENTENCE = re.compile(r"(?<=[.!?])[)\"*_]*\s+(?=[A-Z0-9`(\"*_\[])")
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|al|Fig|vs|etc|No)\.\s")


def pages() -> list[Path]:
    """All written pages, generated ones excluded."""
    return [p for name in PEOPLE if (p := ROOT / name).exists()] + sorted((ROOT / "docs").rglob("*.md"))


def blocks(text: str) -> list[str]:
    """Paragraphs, list items and long table cells, each on one line; code, headings and front matter left out."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)
    text = re.sub(r"^(\s*)(```|~~~).*?^\s*\2\s*$", "", text, flags=re.S | re.M)
    found: list[str] = [""]
    for line in text.splitlines():
        if not line.strip() or NO_PROSE.match(line):
            found.append("")
        elif line.lstrip().startswith("|"):
            found += [cell for cell in line.split("|") if length(cell) >= CELL] + [""]
        elif MARK.match(line):
            found.append(MARK.sub("", line))
        else:
            found[-1] += " " + line.strip()
    return [block.strip() for block in found if block.strip()]


def sentences(text: str) -> list[str]:
    """The sentences of a page. Inline code is one word, a link is its text."""
    found = []
    for block in blocks(text):
        block = re.sub(r"`[^`]+`", "`code`", block)
        block = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block)
        block = ABBREVIATIONS.sub(r"\1 ", block)
        found += [s.strip() for s in END_OF_SENTENCE.split(block) if re.search(r"[A-Za-z]", s or "")]
    return found


def length(sentence: str) -> int:
    """Words: what holds a letter or a digit."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def statistics(text: str) -> tuple[int, float, float, int]:
    """Sentences, and the median, 90th percentile and maximum of their words."""
    lengths = [length(s) for s in sentences(text)]
    if len(lengths) < 2:
        return len(lengths), sum(lengths), sum(lengths), sum(lengths)
    return len(lengths), median(lengths), quantiles(lengths, n=10, method="inclusive")[8], max(lengths)


def main(paths: list[str]) -> None:
    chosen = [Path(p) for p in paths] or pages()
    print("| page | sentences | median | 90th percentile | longest |\n|---|---|---|---|---|")
    everything = []
    for path in (p.relative_to(ROOT) if p.is_relative_to(ROOT) else p for p in chosen):
        text = (ROOT / path).read_text(encoding="utf-8")
        everything += [(length(s), path, s) for s in sentences(text)]
        print("| {} | {} | {:.0f} | {:.0f} | {} |".format(path, *statistics(text)))
    lengths = [n for n, _, _ in everything]
    print(f"| all | {len(lengths)} | {median(lengths):.0f} | {quantiles(lengths, n=10)[8]:.0f} | {max(lengths)} |")
    print("\nThe ten longest:")
    for n, path, sentence in sorted(everything, key=lambda e: -e[0])[:10]:
        print(f"- {n} ({path}): {sentence}")


if __name__ == "__main__":
    main(sys.argv[1:])
