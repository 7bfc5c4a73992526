"""Where the image is that an annotation file names."""

import os
import unicodedata
from pathlib import Path


def image_file(folder: Path, name: str) -> Path:
    """The file that a name means.

    A name is taken as it is where a file has it. Else folders may be divided as on Windows, and letters with accents
    may be composed otherwise (macOS writes NFD, other systems NFC).

    Args:
        folder: Folder of the images.
        name: As the annotation file has it.
    """
    plain = folder / name
    if (name.isascii() and "\\" not in name) or plain.is_file():
        return plain
    slashed = name.replace("\\", "/")
    for form in (slashed, unicodedata.normalize("NFC", slashed), unicodedata.normalize("NFD", slashed)):
        if (folder / form).is_file():
            return folder / form
    return plain


def is_inside(folder: Path, name: str) -> bool:
    """Whether a name means a place in the folder, however it is written; links are not followed on the way."""
    place = os.path.normpath(folder.absolute() / name.replace("\\", "/"))
    roots = (folder.absolute(), folder.resolve())
    return any(root in Path(place).parents for root in roots)


def where_else(folder: Path, root: Path, name: str) -> str:
    """Where a missing image seems to be, as the end of a message; empty where nothing like it was found."""
    bare = Path(name.replace("\\", "/"))
    if (root / bare).is_file() and root != folder:
        return f"it is there relative to {root}: set images to that folder"
    if bare.name != str(bare) and (folder / bare.name).is_file():
        return f"{bare.name} lies in {folder} itself: take the folders out of the names"
    try:
        near = sorted(entry.name for entry in os.scandir((folder / bare).parent))
    except OSError:
        return ""
    for other in near:
        if other.lower() == bare.name.lower():
            return f"{other} is there: capital and small letters differ"
    for other in near:
        if Path(other).stem == bare.stem or other == bare.stem:
            return f"{other} is there: the ending differs"
    return ""
