"""Searches on a table of finished measurements."""
