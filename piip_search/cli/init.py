"""`piip-search init`: copies shipped spaces."""

from pathlib import Path
from typing import Annotated

import typer

from piip_search.api.catalogue import copy_spaces
from piip_search.cli.application import console
from piip_search.cli.options import shipped_names
from piip_search.file_paths import typed_path


def init(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Shipped spaces, such as experiments/pairing; all but the experiments by default.",
            autocompletion=shipped_names,
        ),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("spaces"),
) -> None:
    """Copy shipped search spaces to start from.

    Example: piip-search init coco && piip-search run spaces/coco.yaml
    """
    for target in copy_spaces(names or (), to):
        console.print(
            f"wrote {target}; start it with: piip-search run {typed_path(target)}", markup=False, soft_wrap=True
        )
