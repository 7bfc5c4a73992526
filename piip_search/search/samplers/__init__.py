"""Samplers, which propose designs and learn from their results."""
