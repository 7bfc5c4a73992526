"""Attacks and faults, one function a row of the table that `benchmarks/attacks.py` prints."""
