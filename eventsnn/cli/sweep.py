"""`eventsnn sweep SWEEP.yaml`: train every combination of the values in a sweep file; the same command goes on."""

from __future__ import annotations

import argparse
from typing import Any

from eventsnn.cli.arguments import positive

_FORM = """\
A sweep file names a configuration and what is varied in it; every combination is a run:

  config: xor                        # built-in, or a file relative to this one
  parameters:
    - path: network.hidden.0         # a number is an index of a list
      values: [5, 10, 20]
    - path: training.seed            # a list of paths: all get the same value
      values: [0, 1, 2]

What is finished is not run again, and what was killed goes on from its latest savepoint.
"""


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "sweep",
        help="train every combination of some values",
        description=__doc__,
        epilog=_FORM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="SWEEP.yaml", help="the sweep file")
    parser.add_argument("--config", metavar="CONFIG", help="built-in name or YAML file, instead of the sweep file's")
    parser.add_argument(
        "--out", metavar="DIR", default="sweeps", help="where the sweep's folder is made (default: sweeps)"
    )
    parser.add_argument("--jobs", metavar="N", type=positive, help="runs at a time (default: one per core)")
    parser.add_argument(
        "--threads", metavar="N", type=positive, help="threads of each run (default: the cores divided by the jobs)"
    )
    parser.add_argument("--plots", action="store_true", help="draw the pictures of every run, too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.sweep import sweep

    sweep(
        options.file,
        options.out,
        config=options.config,
        jobs=options.jobs,
        threads=options.threads,
        plots=options.plots,
    )
