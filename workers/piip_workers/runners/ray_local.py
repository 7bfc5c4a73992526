"""Prepares a machine for Ray: a folder for its sockets and one for its token."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from piip_search.errors import MachineUnfitError

SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Longest path that Ray appends to its temporary folder for a socket."""
LONGEST_SOCKET = 107
"""Most bytes of a socket's path on Linux."""
LONGEST_TMPDIR = LONGEST_SOCKET - len(SOCKET)
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
