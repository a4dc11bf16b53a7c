"""``python -m lungnode`` is the ``lungnode`` command."""

from lungnode.cli import main

if __name__ == "__main__":
    main()
