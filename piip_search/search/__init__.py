"""The choice of the next design: search, policy, rungs and plan."""
