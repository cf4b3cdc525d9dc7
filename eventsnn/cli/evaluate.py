"""`eventsnn eval RUN`: draw all pictures of a run into its plots/ folder."""

from __future__ import annotations

import argparse
from typing import Any

from eventsnn.cli.arguments import natural, positive


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser("eval", help="draw all pictures of a run", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", metavar="RUN", help="the run folder")
    parser.add_argument("--epoch", metavar="N", type=natural, help="savepoint to use (default: the latest)")
    parser.add_argument(
        "--untrained", action="store_true", help="also pictures with the untrained network beside, in plots/untrained/"
    )
    parser.add_argument("--threads", metavar="N", type=positive, help="threads (the results do not depend on them)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.run import evaluate

    evaluate(options.folder, options.epoch, untrained=options.untrained, threads=options.threads)
