"""Who proposes designs: ask for one, tell what came of it."""
