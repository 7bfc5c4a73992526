"""Architectures and numbers as pictures and text."""
