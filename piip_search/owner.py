"""The user on whose behalf a process acts."""

import os
import pwd
import socket
from dataclasses import dataclass
from typing import Self

OWNER_VARIABLE = "PIIP_SEARCH_OWNER"
"""Environment variable with the owner (`user@host`) of a search whose driver runs as another user, as on a cluster."""
LONGEST_OWNER = 255
"""Most characters of a user's or a host's name."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user of a machine.

    The name tells people apart; it proves nothing to somebody who may write the ledger.

    Attributes:
        user: Name of the user; empty if unknown, as in ledgers of earlier versions.
        host: Name of the machine.
    """

    user: str = ""
    host: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" if self.host else self.user

    @property
    def known(self) -> bool:
        """Whether the user is known."""
        return bool(self.user)

    def is_same_user(self, other: "Owner") -> bool:
        """Whether both have one user's name; one user works on several machines."""
        return self.known and self.user == other.user

    @classmethod
    def parse(cls, text: str) -> Self:
        """The owner that is written `user@host`, or `user` alone."""
        user, _, host = text.partition("@")
        return cls(user[:LONGEST_OWNER], host[:LONGEST_OWNER])


NOBODY = Owner()
"""The owner of what an earlier version wrote."""


def this_owner() -> Owner:
    """The owner of what this process does: the user of the process, or the one that `PIIP_SEARCH_OWNER` names."""
    named = Owner.parse(os.environ.get(OWNER_VARIABLE, ""))
    return named if named.known else Owner(_user_name(), socket.gethostname()[:LONGEST_OWNER])


def _user_name() -> str:
    """The name of the user whose rights the process has; the number where the system has no name for it.

    Environment variables such as USER are not asked: they stay when the rights change.
    """
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
