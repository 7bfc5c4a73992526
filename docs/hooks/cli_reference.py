"""The page `reference/cli.md`, written from the commands themselves whenever mkdocs builds the documentation."""

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).parents[2]
PAGE = "reference/cli.md"


def on_files(files: Any, config: Any) -> Any:
    """Adds the page to those of a build; mkdocs calls it."""
    from mkdocs.structure.files import File

    sys.path[:0] = [str(ROOT), str(ROOT / "workers"), str(ROOT / "dashboards")]
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The whole page: every command with its arguments, options and defaults."""
    from typer.main import get_command

    from piip_search.cli.commands import app

    intro = "Every command with its arguments and options. `piip-search COMMAND --help` prints the same."
    command = get_command(app)
    whole = [*_of_command(command, "piip-search"), *_of_group(command, "piip-search")]
    return "\n".join(["# Commands", "", intro, "", *whole])


def _of_group(group: Any, words: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _of_group(command, f"{words} {name}")
        else:
            yield from _of_command(command, f"{words} {name}")


def _of_command(command: Any, words: str) -> Iterator[str]:
    context = command.context_class(command, info_name=words)
    yield from (f"## {words}", "", *_help(command.help or ""))
    yield from ("```text", " ".join([words, *command.collect_usage_pieces(context)]), "```", "")
    parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    for title, kind in (("argument", "argument"), ("option", "option")):
        rows = [_row(one) for one in parameters if one.param_type_name == kind and one.name != "help"]
        if rows:
            yield from (f"| {title} | default | means |", "| --- | --- | --- |", *rows, "")


def _help(text: str) -> Iterator[str]:
    """Paragraphs of a help text; the example as a block."""
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        if line.startswith("Example: "):
            yield from ("```sh", line.removeprefix("Example: "), "```", "")
        elif line:
            yield from (_plain(line), "")


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    choices = _choices(parameter)
    means = _plain(" ".join((getattr(parameter, "help", None) or "").split()))
    if choices:
        means += " One of " + ", ".join(f"`{one}`" for one in choices) + "."
    if parameter.envvar:
        means += f" Environment: `{parameter.envvar}`."
    return f"| {names} | {_default(parameter)} | {means} |"


def _choices(parameter: Any) -> list[str]:
    """The words that an option takes, if it takes only some. Older versions of Typer keep them in its type."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    inner = [one for one in get_args(kind) if isinstance(one, type) and issubclass(one, Enum)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        inner = [kind]
    words = [one.value for choice in inner for one in choice] or (get_args(kind) if get_origin(kind) is Literal else ())
    return [
        str(getattr(one, "value", one)) for one in words or getattr(getattr(parameter, "type", None), "choices", ())
    ]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or value == () or value == [] or callable(value):
        return ""
    if value is True:
        return f"`{parameter.opts[0]}`"
    shown = ", ".join(
        str(getattr(one, "value", one)) for one in (value if isinstance(value, list | tuple) else [value])
    )
    return f"`{shown}`"


def _plain(text: str) -> str:
    """Text that Markdown shows as it stands, in a table too."""
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;").replace("_", "\\_")


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "workers"), str(ROOT / "dashboards")]
    print(page())
