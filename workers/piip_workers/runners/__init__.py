"""The places where candidates run: this process, Ray, or a table."""
