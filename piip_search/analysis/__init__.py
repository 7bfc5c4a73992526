"""Analysis of results: health, audits, effects, rank correlation."""
