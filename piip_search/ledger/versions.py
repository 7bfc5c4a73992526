"""Whether a measurement of other versions of the packages may answer for this one."""

from collections.abc import Mapping

from piip_search.tasks import TASKS

MEASURING = ("torch", "torchvision", "timm")
"""Packages of every proxy whose version can change a metric; each task has its own besides."""


def same_versions(there: Mapping[str, str], here: Mapping[str, str]) -> bool:
    """Whether the packages that measure are of one minor version in both; an unknown version is no difference."""
    packages = {*MEASURING, *(name for task in TASKS.values() for name in task.packages.values())}
    return all(_minor(there[name]) == _minor(here[name]) for name in packages & there.keys() & here.keys())


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.partition("+")[0].split(".")[:2])
