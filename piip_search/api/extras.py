"""Optional packages, and what a user has to install for a command."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from piip_search.errors import UserError
from piip_search.tasks import Task


def trainer_of(task: Task) -> tuple[str, ...]:
    """Packages that a training of a task imports."""
    return ("torch", "timm", *task.packages)


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turns the import error of an extra into the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(
            f'{error.name} is not installed; this needs an extra: pip install "piip-search[{name}]"'
        ) from None


def find_trainer(task: Task, address: str | None = None) -> None:
    """Checks for the packages of a training without loading them; a cluster has them on the workers."""
    for name in trainer_of(task) if address is None else ():
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name=name)


def find_mlflow() -> None:
    """Checks for MLflow without loading it, which takes seconds.

    Raises:
        UserError: It is not installed; the message has the command that installs it.
    """
    with extra("mlflow"):
        for name in ("mlflow", "matplotlib", "plotly"):
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
