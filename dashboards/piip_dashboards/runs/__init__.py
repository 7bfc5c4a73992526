"""The data of a run for pages and report."""
