"""Redacts texts for display."""

import errno
import os
import re

from piip_search.errors import UserError
from piip_search.file_paths import located

MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EADDRINUSE)
"""System errors that a person can fix, although they name no file."""

_SECRET_NAME = re.compile(
    r"(?i)passw(?:or)?d|passphrase|secret|token|credential|authorization|(?:api|access|account|private)_?key"
)
_PASSWORD = re.compile(r"://[^/@\s:]*:[^\s]+@")
_SECRET_QUERY = re.compile(r"(?i)[?&](?:ssl)?(?:password|passwd|token|secret|api_?key)=[^&\s]")


def has_password(text: str) -> bool:
    """Whether a text has a URL with a password or a token."""
    return bool(_PASSWORD.search(text) or _SECRET_QUERY.search(text))


def is_secret(name: str, value: str) -> bool:
    """Whether an environment variable looks like a secret, by its name or its value."""
    return bool(_SECRET_NAME.search(name)) or has_password(value)


def without_secrets(text: str) -> str:
    """Masks passwords and tokens in a text; keeps user names of URLs."""
    text = re.sub(r"(://[^/@\s:]*):[^/@\s]+@", r"\1:***@", text)
    return re.sub(r"(?i)([?&](?:ssl)?(?:password|passwd|token|secret|api_?key)=)[^&\s]+", r"\1***", text)


def user_message(error: Exception) -> str | None:
    """The message of an error that the user can fix; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str | bytes):
        return f"{error.strerror}: {located(os.fsdecode(error.filename))}"
    return str(error) if isinstance(error, OSError) and error.errno in MACHINE else None
