"""`eventsnn inference RUN`: loss and accuracy of a savepoint on the test set."""

from __future__ import annotations

import argparse
from typing import Any

from eventsnn.cli.arguments import natural, positive, several
from eventsnn.errors import ValidationError


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "inference", help="loss and accuracy of a run on the test set", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("folder", metavar="RUN", help="the run folder")
    parser.add_argument("--epoch", metavar="N", type=natural, help="savepoint to use (default: the latest)")
    parser.add_argument("--repeat", metavar="N", type=several, help="N times with new noise: mean and spread (N >= 2)")
    parser.add_argument("--seed", metavar="S", type=natural, help="seed of the first repetition's noise (default: 0)")
    parser.add_argument("--threads", metavar="N", type=positive, help="threads (the results do not depend on them)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.run import inference, repeat_inference

    if options.repeat is not None:
        seed = 0 if options.seed is None else options.seed
        repeat_inference(options.folder, options.repeat, options.epoch, seed=seed, threads=options.threads)
    elif options.seed is not None:
        raise ValidationError("--seed is the seed of the noise of --repeat N; give that, too, or leave it out")
    else:
        inference(options.folder, options.epoch, threads=options.threads)
