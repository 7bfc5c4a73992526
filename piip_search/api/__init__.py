"""Use cases, one function each: what commands, pages of the dashboard and programs call.

They take values and give values; what happens meanwhile goes to functions that the caller hands in. These are the only
modules below the command line that know the workers and the dashboard.
"""
