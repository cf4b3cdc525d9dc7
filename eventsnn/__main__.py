"""`python -m eventsnn` is the command `eventsnn`."""

from eventsnn.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
