"""Prepares a machine for Ray: a folder for its sockets and one for its token."""

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from piip_search.errors import MachineUnfitError

SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Longest path that Ray appends to its temporary folder for a socket."""
LONGEST_SOCKET = 107
"""Most bytes of a socket's path on Linux."""
LONGEST_TMPDIR = LONGEST_SOCKET - len(SOCKET)
CLASSES = ((stat.S_IRGRP, stat.S_IXGRP | stat.S_IXOTH), (stat.S_IROTH, stat.S_IXOTH))
"""Bits by which the group and all others can read a file and enter a folder.

The folders above a home belong to other groups, whose members are unknown here: the right of all others counts as well.
"""
OTHERS = ("/tmp", "/var/tmp", "/dev/shm")
"""System folders that Ray may use if its own choice does not work."""
TMPDIR_WAY_OUT = (
    f"set RAY_TMPDIR to a folder of at most {LONGEST_TMPDIR} bytes that you may write to, such as RAY_TMPDIR=/tmp"
)


def missing_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that Ray needs and that are not set.

    Batch systems name temporary folders whose paths are too long for sockets, and containers give a user no home folder
    for Ray's token.

    Raises:
        MachineUnfitError: Ray can use no folder, or not the one that the user chose.
    """
    found = {}
    if (place := _temporary(environment)) is not None:
        found["RAY_TMPDIR"] = place
    if not _token_can_be_kept(environment):
        found["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # the cluster ends with this process
    return found


def check_token_file(environment: Mapping[str, str]) -> None:
    """Checks that others cannot read the token with which this user joins clusters.

    Raises:
        MachineUnfitError: They can.
    """
    path = None if environment.get("RAY_AUTH_TOKEN") else token_file(environment)
    if path is not None and _others_read(path):
        raise MachineUnfitError(
            f"others can read Ray's token in {path}, and whoever has it may use the cluster; run: chmod 600 {path}"
        )


def keep_new_token(environment: Mapping[str, str]) -> None:
    """Writes a token for Ray that only this user can read, if there is none: Ray would let others read it."""
    path = None if environment.get("RAY_AUTH_TOKEN_PATH") else token_file(environment)
    if path is None or environment.get("RAY_AUTH_TOKEN") or path.exists() or not _token_can_be_kept(environment):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def token_file(environment: Mapping[str, str]) -> Path | None:
    """The file in which Ray looks for its token; None for a user without a home folder."""
    if named := environment.get("RAY_AUTH_TOKEN_PATH"):
        return Path(named)
    with suppress(RuntimeError):
        return Path.home() / ".ray" / "auth_token"
    return None


def _others_read(path: Path) -> bool:
    """Whether its group or everybody can read a file: by its own mode, and by those of the folders on its path."""
    try:
        modes = [folder.stat().st_mode for folder in path.absolute().parents]
        own = path.stat().st_mode
    except OSError:  # there is none, or not even this user can reach it
        return False
    return any(own & may_read and all(mode & may_enter for mode in modes) for may_read, may_enter in CLASSES)


def _temporary(environment: Mapping[str, str]) -> str | None:
    """A folder for Ray in place of its own choice; None if its choice works."""
    chosen = environment.get("RAY_TMPDIR")
    if chosen:
        if (problem := _problem(chosen)) is not None:
            raise MachineUnfitError(f"Ray cannot be started with RAY_TMPDIR={chosen}: {problem}; {TMPDIR_WAY_OUT}")
        return None
    usual = environment.get("TMPDIR", OTHERS[0])
    if (problem := _problem(usual)) is None:
        return None if chosen is None else usual
    for place in OTHERS:
        if _problem(place) is None:
            return place
    raise MachineUnfitError(
        f"Ray cannot be started with its files in {usual or OTHERS[0]}: {problem}; {TMPDIR_WAY_OUT}"
    )


def _problem(place: str) -> str | None:
    """The reason why Ray cannot keep its files and sockets in a folder; None if it can."""
    folder = Path(place)
    if not folder.is_absolute():
        return "the path is not absolute"
    if len(os.fsencode(place)) > LONGEST_TMPDIR:
        return f"paths of sockets have at most {LONGEST_SOCKET} bytes, and Ray's would have {len(place) + len(SOCKET)}"
    for one in (folder, folder / "ray"):
        try:
            if one.exists() and not one.is_dir():
                return f"{one} is no folder"
            if one.exists() and not os.access(one, os.W_OK | os.X_OK):
                return f"{one} is not writable"
        except OSError as error:
            return str(error)
    return None if folder.is_dir() or _can_be_made(folder) else f"{folder} cannot be created"


def _can_be_made(folder: Path) -> bool:
    there = next(parent for parent in folder.parents if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _token_can_be_kept(environment: Mapping[str, str]) -> bool:
    """Whether Ray finds its token, or can write one into the home folder."""
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return True
    try:
        folder = Path.home() / ".ray"
        if (folder / "auth_token").is_file():
            return os.access(folder / "auth_token", os.R_OK)
        return os.access(folder if folder.exists() else folder.parent, os.W_OK | os.X_OK)
    except (RuntimeError, OSError):  # a user id without an account, or a folder without read permission
        return False
