"""`python -m piip_search.cli`."""

from piip_search.cli import main

if __name__ == "__main__":
    main()
