"""`piip-search init`: shipped spaces to start from."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from piip_search.cli.application import console
from piip_search.cli.options import shipped_names
from piip_search.config.shipped import shipped_spaces
from piip_search.errors import UserError
from piip_search.file_paths import located, typed_path


def init(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Shipped spaces; all of them by default.", autocompletion=shipped_names),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("spaces"),
) -> None:
    """Copy shipped search spaces to start from.

    Example: piip-search init coco && piip-search run spaces/coco.yaml
    """
    shipped = shipped_spaces()
    wanted = names or list(shipped)
    unknown = [name for name in wanted if name not in shipped]
    if unknown:
        raise UserError(f"no shipped space {', '.join(unknown)}; there are {', '.join(shipped)}")
    kept = [to / f"{name}.yaml" for name in wanted if (to / f"{name}.yaml").exists()]
    if kept:
        raise UserError(f"{', '.join(map(located, kept))} exists and is kept; remove it, or write elsewhere with --to")
    if to.exists() and not to.is_dir():
        raise UserError(f"{located(to)} is a file; name a folder with --to")
    to.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        target = to / f"{name}.yaml"
        shutil.copyfile(shipped[name], target)
        console.print(
            f"wrote {target}; start it with: piip-search run {typed_path(target)}", markup=False, soft_wrap=True
        )
