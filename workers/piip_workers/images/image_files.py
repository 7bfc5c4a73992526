"""Finds the image file that an annotation file names."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote


def image_file(folder: Path, name: str) -> Path:
    """Finds the file that a name means.

    A name is used unchanged where such a file exists. Otherwise other spellings are tried: folders divided as on
    Windows, accents composed otherwise (macOS writes NFD, other systems NFC), plain spaces, and letters coded as in an
    address (%20).

    Args:
        folder: Folder of the images.
        name: Name in the annotation file.
    """
    plain = folder / name
    if (name.isascii() and "\\" not in name and "%" not in name) or is_there(plain):
        return plain
    for form in _forms(name.replace("\\", "/")):
        if is_there(folder / form):
            return folder / form
    return plain


def is_there(file: Path) -> bool:
    """Whether the file exists; no system has one whose name is too long."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def _forms(name: str) -> Iterator[str]:
    """Other ways to write a name."""
    for form in (name, unquote(name), name.translate(_SPACES)):
        yield from (form, unicodedata.normalize("NFC", form), unicodedata.normalize("NFD", form))


_SPACES = str.maketrans("\u00a0\u202f", "  ")


def names_outside(folder: Path, names: Iterable[str]) -> set[str]:
    """Names of the list that point outside the folder, however they are written; links on the way are not followed."""
    start = folder.absolute()
    roots = tuple(f"{root}{os.sep}".replace("//", "/") for root in {start, folder.resolve()})
    # Strings, not paths: there are a hundred thousand names.
    places = {name: os.path.normpath(os.path.join(start, name.replace("\\", "/"))) for name in names}  # noqa: PTH118
    return {name for name, place in places.items() if not place.startswith(roots)}


def where_else(folder: Path, root: Path, name: str) -> str:
    """Guesses where a missing image is, as the end of a message; empty without a guess."""
    bare = Path(name.replace("\\", "/"))
    with suppress(OSError):  # the name may be too long for one
        return f"it is a link to {(folder / name).readlink()}, which does not exist"
    if is_there(root / bare) and root != folder:
        return f"it exists relative to {root}: set images to that folder"
    if bare.name != str(bare) and is_there(folder / bare.name):
        return f"{bare.name} lies in {folder} itself: remove the folders from the names"
    try:
        near = sorted(entry.name for entry in os.scandir((folder / bare).parent))
    except OSError:
        return ""
    for other in near:
        if other != bare.name and other.lower() == bare.name.lower():
            return f"{other} exists: capital and small letters differ"
    for other in near:
        if Path(other).stem == bare.stem or other == bare.stem:
            return f"{other} exists: the ending differs"
    return ""
