"""`python -m flowpeer`."""

from flowpeer.cli import main

if __name__ == "__main__":
    main()
