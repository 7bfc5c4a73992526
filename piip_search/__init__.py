"""Decides: what an architecture is, what it costs, what to try next, and what was found."""

__version__ = "0.1.0"
