"""`python -m piip_search.cli`."""

from piip_search.cli import main

main()
