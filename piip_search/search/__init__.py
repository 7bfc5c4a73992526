"""What to measure next: the search, its policy, its rungs and its plan."""
