"""Roles of PostgreSQL for a ledger that several people share."""

from piip_search.ledger.tables import APPEND_ONLY

LEDGER_ROLES = {
    "owner": "owns the tables, and upgrades them: nobody searches as this role",
    "driver": "searches: adds rows, and renews claims; changes and removes nothing",
    "reader": "looks: reads, and holds nothing up",
}
"""What each role may do."""


def statements(schema: str, prefix: str) -> list[str]:
    """The SQL statements that create the roles, and grant what each needs.

    The owner of the tables runs them after `piip-search ledger upgrade`. A login gets a role by `GRANT role TO login`.

    Args:
        schema: Schema of the tables.
        prefix: Beginning of the names of the roles.
    """
    owner, driver, reader = (f"{prefix}_{role}" for role in LEDGER_ROLES)
    tables = ", ".join(f'{schema}."{table}"' for table in APPEND_ONLY)
    claim, revision = f"{schema}.claim", f"{schema}.alembic_version"
    return [
        *(f"CREATE ROLE {prefix}_{role} NOLOGIN; -- {purpose}" for role, purpose in LEDGER_ROLES.items()),
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;",
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC;",
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner};",
        *(f'ALTER TABLE {schema}."{table}" OWNER TO {owner};' for table in (*APPEND_ONLY, "claim", "alembic_version")),
        f"GRANT USAGE ON SCHEMA {schema} TO {driver}, {reader};",
        f"GRANT SELECT ON {tables}, {claim}, {revision} TO {driver}, {reader};",
        f"GRANT INSERT ON {tables} TO {driver};",
        f"GRANT INSERT, UPDATE ON {claim} TO {driver};",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {driver};",
    ]
