"""Names of files and classes: their order, their form in messages, and which files are images."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Endings of image files that are read, in any case."""
MOST_NAMED = 5
"""Most names that a message lists."""
LETTERS_OF_NAME = 240
"""Most letters of a name or path in a list of them."""
FOLDER = "folder"
"""Stands for an ending where a folder lies in the place of an image."""

_CLUTTER = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
        *("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    }
)
"""What systems and programs leave in folders, in small letters."""
_DIGITS = re.compile(r"([0-9]+)")

NaturalKey = tuple[tuple[str | tuple[int, str], ...], str]


def natural_key(name: str) -> NaturalKey:
    """Sorts numbers in names by value, without regard to capital letters; the name itself breaks ties."""
    parts = _DIGITS.split(name.casefold())
    # Texts are at even places, numbers at odd ones. A number's length comes before its digits: no number is too long.
    return tuple((len(part.lstrip("0")), part.lstrip("0")) if at % 2 else part for at, part in enumerate(parts)), name


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden, or left by a system or a program: it is no class and no image."""
    return name.startswith(".") or name.casefold() in _CLUTTER


def has_image_ending(name: str) -> bool:
    """Whether the reader reads files with this ending."""
    return os.path.splitext(name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122 - there are a million names


def has_image_head(file: Path) -> bool:
    """Whether the first bytes of a file are those of an image format that is read."""
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError:
        return False
    return (
        head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
    )


def shown(name: str | Path) -> str:
    """A name or path in one line, for messages."""
    text = str(name)
    return text if text.isprintable() else ascii(text)


def few(names: Iterable[str | Path], most: int = MOST_NAMED) -> str:
    """The first names and the number of others, for messages."""
    texts = [shown(name) for name in names]
    texts = [text if len(text) <= LETTERS_OF_NAME else f"{text[: LETTERS_OF_NAME - 3]}..." for text in texts]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


def images_of(count: int) -> str:
    """A number of images, for messages."""
    return "1 image" if count == 1 else f"{count:,} images"


def by_ending(counts: Counter[str]) -> str:
    """Numbers of files by their endings, for messages."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = {"": "without ending", FOLDER: "folder"}
    texts = [
        f"{count:,} {words.get(ending, ending)}{'s' if ending == FOLDER and count > 1 else ''}"
        for ending, count in ordered
    ]
    return few(texts)


def ending_of(name: str) -> str:
    """A file's ending in small letters."""
    return Path(name).suffix.lower()


def plain(name: str) -> str:
    """A name without what two spellings of it may differ in: accents' form, capital letters, spaces."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in spelling alone."""
    first: dict[str, str] = {}
    return [(other, name) for name in names if (other := first.setdefault(plain(name), name)) != name]
