"""Commands as documentation shows them, checked against what the programs take."""

import re
import shlex
from collections.abc import Iterator
from typing import Any


def problems_of(line: str) -> list[str]:
    """What is wrong with a shell line: unknown commands and options of piip-search and of ray. Other programs pass."""
    problems = []
    for part in re.split(r"&&|\|\||[;|]", line.split(" #")[0]):
        try:
            words = shlex.split(part)
        except ValueError as error:
            return [f"{part}: {error}"]
        while words and re.fullmatch(r"[A-Za-z_]+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["piip-search"]:
            from piip_search.cli.commands import app

            problems += _unknown(_click(app), words)
        elif words[:1] == ["ray"]:
            try:
                from ray.scripts.scripts import cli
            except ImportError:
                continue
            problems += _unknown(cli, words)
    return problems


def every_command() -> list[tuple[list[str], Any]]:
    """All commands of piip-search, those of its groups included: the words that are typed, and the command."""
    from piip_search.cli.commands import app

    return list(_below(_click(app), []))


def _below(command: Any, words: list[str]) -> Iterator[tuple[list[str], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, one in inner.items():
        yield from _below(one, [*words, name])


def _click(app: Any) -> Any:
    import typer

    return typer.main.get_command(app)


def _unknown(command: Any, words: list[str]) -> list[str]:
    context = command.context_class(command, info_name=words[0])
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        if found is None:
            return [f"{' '.join(words)}: no command {rest[0]}"]
        command, rest = found, rest[1:]
        context = command.context_class(command, parent=context, info_name=command.name)
    known = {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help"}
    used = (
        [word.split("=")[0] for word in rest[: rest.index("--")] if word.startswith("-")]
        if "--" in rest
        else [word.split("=")[0] for word in rest if word.startswith("-")]
    )
    return [f"{' '.join(words)}: no option {option}" for option in used if option not in known and option != "-"]
