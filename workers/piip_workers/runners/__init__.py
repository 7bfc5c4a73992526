"""Where candidates run: in this process, on Ray, or on a table."""
