"""Shows: reads the ledger and computes nothing that is not already there."""
