"""A search on a table of finished measurements."""
