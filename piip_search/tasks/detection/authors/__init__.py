"""An architecture as a configuration of the PIIP authors' repository."""
