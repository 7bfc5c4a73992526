"""The command line: parses options and prints results, one module a subject.

This module imports almost nothing, so that `main` handles an interruption even while commands are loaded.
"""

import sys
from typing import NoReturn

from piip_search.cli.interruption import INTERRUPTED, InterruptedExit, Interruption


def main() -> NoReturn:
    """Runs the command line; an interruption at any time ends with exit code 130 and no traceback."""
    with Interruption() as interruption:
        try:
            from piip_search.cli.commands import run_and_exit

            run_and_exit()
        except InterruptedExit:
            raise
        except BaseException as error:  # libraries turn an interruption into errors of their own
            if not interruption.happened and getattr(error, "code", None) != INTERRUPTED:
                raise
        sys.stderr.write("stopped\n")
        sys.exit(INTERRUPTED)
