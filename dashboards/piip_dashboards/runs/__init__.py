"""What the pages and the report read of a run."""
