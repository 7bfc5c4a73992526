"""Named tokens of a dashboard's visitors: each has a role, may expire, and can be revoked.

They are kept as hashes in a file of the home folder that only its owner may read. Whoever may write the home folder can
still not add one: a file of another user is refused.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

from piip_search.errors import UserError
from piip_search.own_files import check_private

Role = Literal["view", "act"]
ROLES: tuple[Role, ...] = get_args(Role)
TOKENS_FILE = "dashboard-tokens.json"
"""File in a home folder."""
TOKEN_BYTES = 32
LARGEST_TOKENS_FILE = 2**20
TOKEN_NAME = re.compile(r"[\w.@-]{1,60}", re.ASCII)


@dataclass(frozen=True)
class Visitor:
    """Who visits a dashboard.

    Attributes:
        name: Name of the visitor's token.
        role: `view` for somebody who may only look, `act` for one who may start and stop something.
    """

    name: str
    role: Role

    @property
    def may_act(self) -> bool:
        return self.role == "act"


@dataclass(frozen=True)
class NamedToken:
    """A token as it is kept.

    Attributes:
        name: Name.
        role: Role of its visitors.
        digest: SHA-256 of the token, which itself is kept nowhere.
        created_at: Time of its creation.
        expires_at: Time from which it is refused; None for never.
    """

    name: str
    role: Role
    digest: str
    created_at: datetime
    expires_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


class NamedTokens:
    """The named tokens of a home folder; every question reads the file, so that a change counts at once."""

    def __init__(self, home: Path) -> None:
        self.path = home / TOKENS_FILE

    def visitor(self, token: str, now: datetime) -> Visitor | None:
        """The visitor with a token; None for an unknown, expired or revoked one.

        Raises:
            UserError: The file cannot be trusted or read.
        """
        digest = digest_of(token)
        found = [one for one in self.all() if hmac.compare_digest(one.digest, digest) and one.is_valid(now)]
        return Visitor(found[0].name, found[0].role) if found else None

    def all(self) -> list[NamedToken]:
        """All tokens that were not revoked, in the order of their names.

        Raises:
            UserError: The file cannot be trusted or read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                check_private(self.path, os.fstat(file.fileno()), "file of tokens")
                content = file.read(LARGEST_TOKENS_FILE)
        except FileNotFoundError:
            return []
        except OSError as error:  # for example a folder
            raise UserError(f"tokens in {self.path} cannot be read: {error.strerror}") from None
        try:
            return sorted((_token(row) for row in json.loads(content)["tokens"]), key=lambda one: one.name)
        except (ValueError, KeyError, TypeError, OverflowError):
            raise UserError(f"{self.path} is no file of tokens; remove it, and add the tokens again") from None

    def add(self, name: str, role: Role, now: datetime, days: float | None = None) -> str:
        """Creates a token, which is returned and kept nowhere.

        Args:
            name: Name, unused so far.
            role: Role of its visitors.
            now: Present time.
            days: Days until it expires; None for never.

        Raises:
            UserError: The name is taken or cannot be one, or the file cannot be written.
        """
        if not TOKEN_NAME.fullmatch(name):
            raise UserError(f"a token's name has up to 60 letters, digits and ._@-, got {name!r}")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        try:
            expires_at = None if days is None else now + timedelta(days=days)
        except (OverflowError, ValueError):
            raise UserError(
                f"{days:g} days end after the last date; give fewer, or none for a token for ever"
            ) from None
        with self._changing() as tokens:
            if any(one.name == name for one in tokens):
                raise UserError(f"a token {name!r} exists; revoke it first, or choose another name")
            tokens.append(NamedToken(name, role, digest_of(token), now, expires_at))
        return token

    def revoke(self, name: str) -> None:
        """Removes a token, which is refused from the next request on.

        Raises:
            UserError: No token has the name; the message lists those that exist.
        """
        with self._changing() as tokens:
            kept = [one for one in tokens if one.name != name]
            if len(kept) == len(tokens):
                known = ", ".join(one.name for one in tokens) or "none"
                raise UserError(f"no token {name!r}; there is {known}")
            tokens[:] = kept

    @contextmanager
    def _changing(self) -> Iterator[list[NamedToken]]:
        """The tokens, which are written back after the block; one process changes them at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = self.all()
            yield tokens
            self._write(tokens)
        finally:
            os.close(lock)

    def _write(self, tokens: list[NamedToken]) -> None:
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        rows = [{**asdict(one), "created_at": one.created_at.isoformat(), "expires_at": _text(one)} for one in tokens]
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"tokens": rows}, file, indent=1)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def read_token(path: Path) -> str:
    """The token in a file of one line.

    Raises:
        UserError: The file cannot be read, or others may read it.
    """
    try:
        with path.open("rb") as file:
            check_private(path, os.fstat(file.fileno()), "token file")
            return file.read(4096).decode("utf-8").strip()
    except OSError as error:
        raise UserError(f"token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"token file {path} is no text") from None


def _text(token: NamedToken) -> str | None:
    return None if token.expires_at is None else token.expires_at.isoformat()


def _token(row: dict[str, Any]) -> NamedToken:
    if row["role"] not in ROLES or not isinstance(row["digest"], str):
        raise ValueError(row["role"])
    expires = row["expires_at"]
    return NamedToken(
        str(row["name"]),
        row["role"],
        row["digest"],
        datetime.fromisoformat(row["created_at"]).astimezone(UTC),
        None if expires is None else datetime.fromisoformat(expires).astimezone(UTC),
    )
