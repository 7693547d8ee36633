"""`python -m foley`: the `foley` command."""

from foley.cli import main

if __name__ == "__main__":
    main()
