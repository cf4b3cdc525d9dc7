"""`eventsnn train CONFIG`: train in a new run folder."""

from __future__ import annotations

import argparse
from typing import Any

from eventsnn.cli.arguments import natural, positive


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "train", help="train a network in a new run folder", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("config", metavar="CONFIG", help="built-in name (see `eventsnn configs`) or YAML file")
    parser.add_argument("--out", metavar="DIR", default="runs", help="where the run folder is made (default: runs)")
    parser.add_argument("--epochs", metavar="N", type=positive, help="epochs in all, instead of the configuration's")
    parser.add_argument("--seed", metavar="S", type=natural, help="seed, instead of the configuration's")
    parser.add_argument("--threads", metavar="N", type=positive, help="threads (the results do not depend on them)")
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.run import train

    train(
        options.config,
        options.out,
        epochs=options.epochs,
        seed=options.seed,
        threads=options.threads,
        plots=not options.no_plots,
    )
