"""The dashboard as a web application."""
