"""The command `eventsnn`: reads the arguments, runs one command, turns errors into one clear line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import eventsnn
from eventsnn.cli import configs, continue_, convert, evaluate, inference, sweep, sweep_plot, train
from eventsnn.errors import EventSNNError

__all__ = ["main"]

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 2 a clear error, 130 interrupted.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments without the program's name; default those of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
        sys.stdout.flush()  # a closed pipe shows here and not at exit
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EventSNNError as error:
        if options.debug:
            raise
        print(f"eventsnn: error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interrupt:
        if options.debug and not str(interrupt):
            raise
        _forget_frames(interrupt)
        print(f"\neventsnn: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _forget_frames(interrupt: BaseException) -> None:
    """Let go of what was under way. A progress bar that Ctrl-C hit while it was made complains when it is deleted."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        interrupt.__context__ = interrupt.__traceback__ = None
    finally:
        sys.unraisablehook = hook


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eventsnn",
        description="Train and test exact event-driven spiking neural networks.",
        epilog="`eventsnn COMMAND --help` explains a command. First: eventsnn train yin_yang",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"eventsnn {eventsnn.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (train, continue_, inference, evaluate, sweep, sweep_plot, convert, configs):
        command.add_parser(commands)
    return parser
