"""`python -m frcnn_cli` is `frcnn`."""

from .cli.app import main

if __name__ == "__main__":
    main()
