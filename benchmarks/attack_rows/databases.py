"""What a role of PostgreSQL can do to a ledger that several people share."""

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from attack_rows.tally import Tally
from attack_rows.world import World
from piip_search.ledger import Ledger
from piip_search.ledger.roles import statements
from piip_search.ledger.tables import APPEND_ONLY

CHANGES = (
    "UPDATE {} SET id = id + 1",
    "DELETE FROM {}",
    "TRUNCATE {} CASCADE",
    "ALTER TABLE {} DISABLE TRIGGER ALL",
    "DROP TABLE {} CASCADE",
)


def roles(world: World) -> Tally:
    """Whoever searches, and whoever looks, tries to change, empty and drop every table."""
    tally, url = Tally(), world.postgres.database()
    with_driver = make_url(url).set(drivername="postgresql+psycopg")
    Ledger(url).close()
    name = f"p{with_driver.database}"
    _execute(with_driver, *statements("public", name))
    for role in ("driver", "reader"):
        _execute(with_driver, f"CREATE ROLE {name}_{role}_login LOGIN; GRANT {name}_{role} TO {name}_{role}_login")
        for table in APPEND_ONLY:
            for change in CHANGES:
                done = _execute(with_driver.set(username=f"{name}_{role}_login"), change.format(f'"{table}"'))
                tally.check(not done, f"{role}: {change.format(table)}")
    _execute(with_driver, f"CREATE ROLE {name}_owner_login LOGIN; GRANT {name}_owner TO {name}_owner_login")
    for table in APPEND_ONLY:
        done = _execute(with_driver.set(username=f"{name}_owner_login"), f'TRUNCATE "{table}" CASCADE')
        tally.check(not done, f"owner: TRUNCATE {table}")
    return tally


def _execute(url: object, *words: str) -> bool:
    """Whether the database executed all of it."""
    engine = create_engine(url)  # type: ignore[call-overload]
    try:
        with engine.begin() as connection:
            for word in words:
                connection.execute(text(word))
    except DBAPIError as error:
        if "syntax" in str(error):
            raise
        return False
    finally:
        engine.dispose()
    return True
