"""What rows share: a folder, users, and servers that are started when a row asks for them."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from attack_rows.people import People, end_all
from attack_rows.tally import Tally


class World:
    """One run of the benchmark.

    Attributes:
        quick: Whether sizes are small.
    """

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self._folder = Path(tempfile.mkdtemp(prefix="piip-attacks-"))
        self._folder.chmod(0o755)
        self._rows = 0

    def people(self) -> People:
        """Users with empty folders, new for each row."""
        return People(self.place())

    def place(self) -> Path:
        """A new folder that everybody may enter."""
        self._rows += 1
        place = self._folder / f"row-{self._rows}"
        place.mkdir()
        place.chmod(0o755)
        return place

    @cached_property
    def postgres(self) -> "Server":
        """A PostgreSQL whose socket every user of the machine reaches."""
        return Server()

    @cached_property
    def cluster(self) -> "RayCluster":
        """A Ray cluster of one node."""
        return RayCluster(self._folder)

    def close(self) -> None:
        """Ends all programs and servers, and removes the folders."""
        end_all()
        for name in ("postgres", "cluster"):
            if name in self.__dict__:
                self.__dict__[name].close()
        shutil.rmtree(self._folder, ignore_errors=True)


class Server:
    """A PostgreSQL server."""

    def __init__(self) -> None:
        from support.postgres import Postgres

        self._server = Postgres()
        self._server._folder.chmod(0o711)

    def database(self) -> str:
        """URL of a new, empty database."""
        return self._server.database()

    def close(self) -> None:
        self._server.stop()


class RayCluster:
    """A Ray cluster whose files lie as in Ray's own folder."""

    def __init__(self, folder: Path) -> None:
        from support.two_nodes import Cluster

        self.sessions = Path(tempfile.mkdtemp(dir="/tmp"))
        self.sessions.chmod(0o755)
        self._cluster = Cluster(folder, dashboard=True, temporary=self.sessions)
        self._cluster.start_head()
        self.address = self._cluster.dashboard

    def close(self) -> None:
        self._cluster.down()
        shutil.rmtree(self.sessions, ignore_errors=True)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: Word by which it is chosen.
        title: Attack or fault.
        run: Tries it.
    """

    name: str
    title: str
    run: Callable[[World], Tally]
