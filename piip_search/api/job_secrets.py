"""The environment of a job on a cluster: what everybody may see of it, and the secrets, which travel in a private file.

A cluster prints the environment of its jobs into logs and command lines that other users of its machines can read.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from piip_search.errors import UserError
from piip_search.file_paths import escaped_url
from piip_search.owner import OWNER_VARIABLE, Owner
from piip_search.redact import has_password, is_secret
from piip_search.secret_file import SECRETS_VARIABLE, write_secrets

LEDGER_VARIABLE = "PIIP_SEARCH_LEDGER"
STORE_VARIABLE = "MLFLOW_TRACKING_URI"
SECRETS_WAY_OUT = (
    "leave the password out of the URL and keep it on the cluster (~/.pgpass, ?service=NAME, a Kubernetes secret), or "
    "name a file of the cluster with --secrets PATH"
)
_SECRET_KEY = re.compile(r"(?i)(?:ssl)?(?:password|passwd|token|secret|api_?key)")


@dataclass(frozen=True)
class JobEnvironment:
    """The environment variables of a job.

    Attributes:
        public: Variables that every user of the cluster can see.
        secret: Variables that only the job may see.
    """

    public: Mapping[str, str] = field(default_factory=dict)
    secret: Mapping[str, str] = field(default_factory=dict)

    def with_file(self, home: Path, run: str, owner: Owner, named: Path | None) -> dict[str, str]:
        """The public variables and the path of a file with the secret ones.

        The file is kept, as nodes and restarted drivers read it.

        Args:
            home: Home folder, as a path on the cluster's nodes.
            run: Name of the run.
            owner: Owner of the search.
            named: File of the cluster that has the secrets; None to write one into the home folder.

        Raises:
            UserError: There are secrets, and the home folder is not on storage of this machine.
        """
        if named is None and not self.secret:
            return dict(self.public)
        if named is None:
            names = " and ".join(self.secret)
            named = home / f".secrets-{re.sub(r'[^A-Za-z0-9._-]', '_', owner.user)}" / f"{run}.env"
            if not _is_here(home):
                raise UserError(
                    f"{names} cannot be sent to the cluster: a secret travels in a file of the home folder, and {home} "
                    f"is not on storage of this machine; {SECRETS_WAY_OUT}"
                )
            write_secrets(named, self.secret)
        return {**self.public, SECRETS_VARIABLE: str(named)}


def job_environment(names: tuple[str, ...], ledger: str | None, mlflow: str | None, owner: Owner) -> JobEnvironment:
    """The environment of the driver of a search.

    Args:
        names: Variables of this process to pass on.
        ledger: Database URL of the ledger; None for the home's own.
        mlflow: MLflow store or server; None for the home's own.
        owner: Owner of the search.

    Raises:
        UserError: This process has no such variable.
    """
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(f"--env {missing[0]}: this shell has no such variable; export it first")
    public: dict[str, str] = {OWNER_VARIABLE: str(owner)}
    secret: dict[str, str] = {}
    for name in names:
        (secret if is_secret(name, os.environ[name]) else public)[name] = os.environ[name]
    for name, url in ((LEDGER_VARIABLE, ledger), (STORE_VARIABLE, mlflow)):
        if url and (shown := public_url(url)) != url:
            secret[name] = escaped_url(url)
            public |= {name: escaped_url(shown)} if shown else {}
        elif url:
            public[name] = escaped_url(url)
    return JobEnvironment(public, secret)


def public_url(url: str) -> str | None:
    """A database, MLflow store or server without password and token; None if the text is no URL but may hold one."""
    if not has_password(url):
        return url
    return _public_server(url) if url.startswith(("http://", "https://")) else _public_database(url)


def _public_server(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:  # for example unbalanced brackets
        return None
    query = "&".join(one for one in parts.query.split("&") if not _SECRET_KEY.fullmatch(one.partition("=")[0]))
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, query, ""))


def _public_database(url: str) -> str | None:
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    query = {key: value for key, value in parsed.query.items() if not _SECRET_KEY.fullmatch(key)}
    where = (parsed.username, None, parsed.host, parsed.port, parsed.database)
    return URL.create(parsed.drivername, *where, query=query).render_as_string(hide_password=False)


def _is_here(home: Path) -> bool:
    """Whether a folder is on storage of this machine: it exists, or a part of its path below the root does."""
    there = next(folder for folder in (home, *home.parents) if os.access(folder, os.F_OK))
    return there.is_dir() and there.parent != there and os.access(there, os.W_OK | os.X_OK)
