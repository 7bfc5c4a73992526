"""Wires what a command needs: space, ledger, runner and tracker, from what the user said.

The composition root below the command line: the only modules beside it that know the workers.
"""
