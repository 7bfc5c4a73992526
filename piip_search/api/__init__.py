"""The use cases, one function each, for commands, pages of the dashboard and programs.

They take and return values, and report progress through functions of the caller. These are the only modules below the
command line that know the workers and the dashboard.
"""
