"""The task classification: what a search and an export have to know about it."""
