"""The miniature weights: pre-trained small backbones whose files are a part of this package.

`miniature_weights/MODEL_CARD.md` says where they come from; `benchmarks/miniatures.py` trains them.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from piip_search.architecture.backbones import BACKBONES

MINIATURE = "miniature"
"""Word for these weights in the place of a folder."""
_FOLDER = Path(__file__).parent / "miniature_weights"


def miniature_file(name: str) -> Path | None:
    """The file of a backbone's miniature weights; None if it has none."""
    file = _FOLDER / f"{name}.safetensors"
    return file if name in BACKBONES and file.is_file() else None


@cache
def miniature_names() -> tuple[str, ...]:
    """Names of the backbones that have miniature weights."""
    return tuple(name for name in BACKBONES if miniature_file(name) is not None)


@cache
def miniature_digest() -> str:
    """SHA-256 of all miniature weights: trainings with other weights are not the same measurement."""
    digest = hashlib.sha256()
    for name in miniature_names():
        digest.update(f"{name} {hashlib.sha256((_FOLDER / f'{name}.safetensors').read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def without_miniature(names: Sequence[str]) -> str:
    """The message about backbones without miniature weights; empty if all have them."""
    missing = [name for name in names if miniature_file(name) is None]
    if not missing:
        return ""
    return (
        f"no miniature weights of {', '.join(missing)}; {', '.join(miniature_names())} have them: leave other "
        "backbones out, or take weights from hub or a folder"
    )
