"""Reads a search space file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from piip_search.config.baselines import with_changed_files
from piip_search.config.consistency import problems_of
from piip_search.config.messages import explained
from piip_search.config.resources import unsupported
from piip_search.config.search_spec import SearchSpec
from piip_search.config.space import FORMER_WHOLE
from piip_search.config.yaml_file import read_yaml, write_yaml
from piip_search.errors import SpecError, YamlError
from piip_search.file_paths import escaped, expanded, located
from piip_search.tasks import TASKS, Task, default_task


def load_spec(path: Path, notify: Callable[[str], None] = lambda text: None) -> SearchSpec:
    """Reads and checks a search space.

    Args:
        path: The file.
        notify: Called with a line about each former word in it.

    Raises:
        SpecError: The file cannot be read, is no YAML or breaks rules; the message lists all problems.
    """
    try:
        content = read_yaml(path)
    except YamlError as error:
        raise SpecError(path, [str(error)]) from None
    problems: list[str] = []

    def expand(place: str, text: str) -> str:
        try:
            return expanded(text)
        except ValueError as error:
            problems.append(f"{place}: {error}")
            return text

    content = _with_paths(content, expand)
    try:
        spec = parse_spec(content, path)
    except SpecError as error:
        raise SpecError(path, [*problems, *error.problems]) from None
    if problems:
        raise SpecError(path, problems)
    for line in _former_words(content):
        notify(f"note: {located(path)}: {line}")
    return spec


def _former_words(content: Mapping[str, Any]) -> Iterator[str]:
    """Words of a file that are read and have others now, with their places."""
    if content["limit"].get("convention") == FORMER_WHOLE:
        yield f"limit.convention: {FORMER_WHOLE} is called whole now, and means the same; write whole"


def space_file(content: Mapping[str, Any], **layout: Any) -> str:
    """The text of a search space file that `load_spec` reads as this content.

    Args:
        content: Content in the form for `parse_spec`.
        layout: Options of `yaml.dump`.
    """
    return write_yaml(_with_paths(dict(content), lambda _, text: escaped(text)), **layout)


def _with_paths(content: Any, change: Callable[[str, str], str]) -> Any:
    """The content with every path replaced.

    Args:
        content: Content of a file, possibly with faults.
        change: Maps the name of a field and its path to the new path.
    """
    task = _task_of(content)
    if task is None:
        return content
    for path in task.paths:
        content = _changed(content, path, partial(change, ".".join(path)))
    if "baselines" in content:
        files = with_changed_files(content["baselines"], task, partial(change, "baselines"))
        content = {**content, "baselines": files}
    return content


def _own_faults(found: Sequence[Any]) -> list[dict[str, Any]]:
    """The findings of pydantic that do not only follow from others.

    A list with a wrong item is also too short. A default of the task waits for fields that are wrong.
    """
    items = [dict(item) for item in found if item["type"] != "default_factory_not_called"]

    def follows(item: dict[str, Any]) -> bool:
        inside = (other["loc"][: len(item["loc"])] == item["loc"] for other in items if other is not item)
        return item["type"] == "too_short" and any(inside)

    return [item for item in items if not follows(item)]


def _task_of(content: Any) -> Task | None:
    """The task that a content names; None for an unknown one."""
    name = content.get("task", default_task()) if isinstance(content, Mapping) else None
    return TASKS.get(name) if isinstance(name, str) else None


def _changed(content: Any, path: tuple[str, ...], change: Callable[[str], str]) -> Any:
    if not path:
        return change(content) if isinstance(content, str) else content
    if not isinstance(content, Mapping) or path[0] not in content:
        return content
    return {**content, path[0]: _changed(content[path[0]], path[1:], change)}


def as_recorded(content: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded content of a search as its version meant it: the first ones priced squares alone."""
    limit = content.get("limit")
    if not isinstance(limit, Mapping) or "image" in limit:
        return dict(content)
    return {**content, "limit": {**limit, "image": None}}


def parse_spec(content: object, source: Path | str = "search space", recorded: bool = False) -> SearchSpec:
    """Checks the content of a search space file.

    Args:
        content: Content of the file.
        source: Name of the file in messages.
        recorded: Whether it comes from a ledger: it starts no search, and earlier versions accepted more.

    Raises:
        SpecError: The content breaks rules; the message lists all problems.
    """
    if not isinstance(content, dict):
        raise SpecError(source, ["must be a mapping with name, space, limit and data; `piip-search init` writes one"])
    if recorded:
        content = as_recorded(content)
    problems: list[str] = []
    spec, task = None, _task_of(content)
    sections = {} if task is None else {"data": task.data, "training": task.training}
    try:
        spec = SearchSpec.model_validate(content)
    except ValidationError as error:
        problems += [explained(item, SearchSpec, sections) for item in _own_faults(error.errors())]
    problems += [] if task is None else problems_of(content, task)
    if spec is not None and not recorded:
        problems += unsupported(spec.resources)
    if problems or spec is None:
        raise SpecError(source, problems)
    return spec
