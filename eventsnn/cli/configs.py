"""`eventsnn configs`: list the built-in configurations, or print one as a start for your own."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add this command."""
    parser = commands.add_parser(
        "configs", help="list the built-in configurations, or print one", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="print this one: eventsnn configs xor > my.yaml")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run this command."""
    from eventsnn.experiments.config import builtin_text, list_configs

    if options.name is not None:
        print(builtin_text(options.name), end="")
        return
    known = list_configs()
    width = max(map(len, known))
    for name, about in known.items():
        print(f"{name:<{width}}  {about}")
