"""`eventsnn continue RUN EPOCH`: go on with a run from a savepoint, with the same bits as if it had never stopped."""

from __future__ import annotations

import argparse
from typing import Any

from eventsnn.cli.arguments import natural, positive


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "continue", help="go on with a run from a savepoint", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("folder", metavar="RUN", help="the run folder")
    parser.add_argument("epoch", metavar="EPOCH", type=natural, help="go on from the savepoint of this epoch")
    parser.add_argument("--epochs", metavar="N", type=positive, help="new number of epochs in all")
    parser.add_argument("--threads", metavar="N", type=positive, help="threads (the results do not depend on them)")
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.run import continue_run

    continue_run(
        options.folder,
        options.epoch,
        epochs=options.epochs,
        threads=options.threads,
        plots=not options.no_plots,
    )
