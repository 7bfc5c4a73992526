"""Reads a search space file."""

from pathlib import Path

from pydantic import ValidationError

from piip_search.spec.meaning import problems_of
from piip_search.spec.search_spec import SearchSpec
from piip_search.spec.wording import SpecError, explained
from piip_search.yaml_file import YamlError, read_yaml


def load_spec(path: Path) -> SearchSpec:
    """Reads and checks a search space.

    Raises:
        SpecError: The file cannot be read, is no YAML or breaks rules; all that was found, at once.
    """
    try:
        content = read_yaml(path)
    except YamlError as error:
        raise SpecError(path, [str(error)]) from None
    return parse_spec(content, path)


def parse_spec(content: object, source: Path | str = "search space") -> SearchSpec:
    """Checks what a search space file holds.

    Raises:
        SpecError: It breaks rules; all that was found, at once.
    """
    if not isinstance(content, dict):
        raise SpecError(source, ["must be a mapping with name, space, limit and data; `piip-search init` writes one"])
    problems: list[str] = []
    spec = None
    try:
        spec = SearchSpec.model_validate(content)
    except ValidationError as error:
        found = [dict(item) for item in error.errors()]
        # A list whose only item is wrong is also reported as too short: say the first alone.
        problems += [
            explained(item, SearchSpec) for item in found if item["type"] != "too_short" or item["input"] in ([], ())
        ]
    problems += problems_of(content)
    if problems or spec is None:
        raise SpecError(source, problems)
    return spec
