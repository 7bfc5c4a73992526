"""What the results say: health, audits, effects, rank correlation."""
