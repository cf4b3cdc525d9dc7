"""`eventsnn sweep-plot FOLDER`: draw a sweep's results against each of its parameters."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "sweep-plot", help="draw the results of a sweep", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("folder", metavar="FOLDER", help="the sweep's folder, or its sweep.csv")
    parser.add_argument(
        "--column",
        metavar="NAME",
        default="test_accuracy",
        help="test_accuracy (default), test_loss, valid_accuracy, epochs or seconds",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.sweep_plot import draw_sweep

    print("\n".join(str(path) for path in draw_sweep(options.folder, column=options.column)))
