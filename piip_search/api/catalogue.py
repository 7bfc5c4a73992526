"""Lists of the available backbones, spaces and tasks."""

import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from piip_search.architecture.backbones import BACKBONES, timm_models
from piip_search.config.shipped import shipped_spaces
from piip_search.errors import UserError
from piip_search.file_paths import located
from piip_search.tasks import TASKS


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of the backbones that match a pattern, such as `vit_*`, in alphabetical order.

    A ViT of any other size is named by its numbers: `vit_w640_d12_h10`.
    """
    return sorted(name for name in {*BACKBONES, *timm_models()} if fnmatch(name, pattern))


def list_spaces() -> list[str]:
    """Names of the shipped search spaces, those of an experiment as `experiments/pairing`."""
    return sorted(shipped_spaces())


def list_tasks() -> list[str]:
    """Names of the available tasks."""
    return sorted(TASKS)


def copy_spaces(names: Sequence[str], folder: Path) -> list[Path]:
    """Copies search spaces that come with the package, to start from.

    Args:
        names: Their names, such as `experiments/pairing`; by default all but the experiments.
        folder: Where to write them.

    Returns:
        The files.

    Raises:
        UserError: There is no such space, a file is there already, or the folder is a file.
    """
    shipped = shipped_spaces()
    wanted = {folder / f"{name}.yaml": name for name in names or _to_start_from(shipped)}
    unknown = [name for name in wanted.values() if name not in shipped]
    if unknown:
        raise UserError(f"no shipped space {', '.join(unknown)}; there are {', '.join(shipped)}")
    kept = [file for file in wanted if file.exists()]
    if kept:
        raise UserError(f"{', '.join(map(located, kept))} exists and is kept; remove it, or write elsewhere with --to")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{located(folder)} is a file; name a folder with --to")
    for file, name in wanted.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped[name], file)
    return list(wanted)


def _to_start_from(names: Iterable[str]) -> list[str]:
    """Spaces that a user changes; an experiment asks one question as it is."""
    return [name for name in names if "/" not in name]
