"""What there is to choose from: backbones, spaces, tasks."""

from fnmatch import fnmatch

from piip_search.architecture.backbones import BACKBONES, timm_models
from piip_search.config.shipped import shipped_spaces
from piip_search.tasks import TASKS


def list_backbones(pattern: str = "*") -> list[str]:
    """Names of the backbones that match a pattern, such as `vit_*`, in alphabetical order.

    A ViT of any other size is named by its numbers: `vit_w640_d12_h10`.
    """
    return sorted(name for name in {*BACKBONES, *timm_models()} if fnmatch(name, pattern))


def list_spaces() -> list[str]:
    """Names of the search spaces that come with the package."""
    return sorted(shipped_spaces())


def list_tasks() -> list[str]:
    """Names of the tasks that can be searched for."""
    return sorted(TASKS)
