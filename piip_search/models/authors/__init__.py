"""Checkpoints of the PIIP authors' repository."""
