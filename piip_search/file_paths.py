"""Paths as a user writes them: relative, or with the home folder and environment variables."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from piip_search.errors import UserError

_VARIABLE = re.compile(r"\$(?:(?P<escape>\$)|\{(?P<braced>[^{}]*)\}|(?P<plain>[A-Za-z_][A-Za-z0-9_]*))")
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>[^?]*)(?P<query>\?.*)?", re.DOTALL)


def expanded(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A path with `~`, `~user`, `$NAME` and `${NAME}` replaced, as a shell does; `$$` is a dollar sign.

    Args:
        text: The path.
        environment: Variables; those of this process by default.

    Raises:
        UserError: The variable or user does not exist, the variable is empty, or the text is no UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{text!a}: names of files and folders must be UTF-8; rename it") from None
    known = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        name = match["plain"] or match["braced"]
        if not known.get(name):
            state = "is empty" if name in known else "is not set"
            raise UserError(f"the variable {name} {state}, in {text!r}; set it, or write $$ for a dollar sign")
        return known[name]

    head, slash, tail = text.partition("/")
    if head.startswith("~"):
        return f"{_home(head, text)}{slash}{_VARIABLE.sub(value, tail)}"
    return _VARIABLE.sub(value, text)


def escaped(text: str) -> str:
    """The text for which `expanded` gives this path."""
    return f"{'./' if text.startswith('~') else ''}{text.replace('$', '$$')}"


def escaped_url(text: str) -> str:
    """The text for which `expanded_url` gives this URL or path."""
    sqlite = _SQLITE.fullmatch(text)
    if sqlite is not None:
        return f"{sqlite['scheme']}{escaped(sqlite['path'])}{sqlite['query'] or ''}"
    return text if ":" in text else escaped(text)


def typed_path(path: Path) -> str:
    """A path quoted for a shell, as an argument of this program."""
    return shlex.quote(escaped(str(path)))


def typed_url(url: str) -> str:
    """A database or MLflow store quoted for a shell."""
    return shlex.quote(escaped_url(url))


def expanded_url(text: str) -> str:
    """The URL of a database or MLflow store after `expanded`: the path of a SQLite URL, or a path that is no URL.

    Raises:
        UserError: As for `expanded`.
    """
    sqlite = _SQLITE.fullmatch(text)
    if sqlite is not None:
        return f"{sqlite['scheme']}{expanded(sqlite['path'])}{sqlite['query'] or ''}"
    return text if ":" in text else expanded(text)


def located(path: Path | str) -> str:
    """A path for messages: a relative one with its absolute path and its base."""
    if Path(path).is_absolute():
        return str(path)
    return f"{path} ({Path(path).absolute()}: a relative path starts at the current folder)"


def _home(head: str, text: str) -> str:
    home = os.path.expanduser(head)  # noqa: PTH111 - of any user, and a text that is none stays
    if home == head:
        who = f"no user {head[1:]!r}" if head != "~" else "no home folder"
        raise UserError(
            f"there is {who} on this machine, in {text!r}; write the folder's whole path, or ./{text} for a folder of "
            "that name"
        )
    return home
