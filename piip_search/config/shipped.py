"""The search spaces of the package."""

import difflib
from importlib.resources import files
from pathlib import Path

from piip_search.errors import UserError
from piip_search.file_paths import located


def shipped_spaces() -> dict[str, Path]:
    """File of each shipped space, by name, those of a folder as `experiments/pairing`.

    They lie inside an installed package, and beside the package in a checkout.
    """
    package = Path(str(files("piip_search")))
    places = (package / "search_spaces", package.parent / "search_spaces")
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        return {}
    found = sorted(folder.rglob("*.yaml"), key=lambda file: (len(file.parts), file.with_suffix("")))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in found}


def find_space(text: str) -> Path:
    """The file that a user means: a path, or the name of a shipped space.

    Raises:
        UserError: The text is neither.
    """
    path = Path(text)
    shipped = shipped_spaces()
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        if text in shipped:
            return shipped[text]
        near = difflib.get_close_matches(text, shipped, n=1)
        hint = f"did you mean {near[0]}?" if near else f"shipped spaces: {', '.join(shipped)}"
        raise UserError(f"no search space {text!r}: give the path of a YAML file or a shipped name; {hint}")
    if not path.is_file():
        raise UserError(
            f"no file {located(text)}; `piip-search init` writes {', '.join(shipped)} into ./spaces to start from"
        )
    return path
