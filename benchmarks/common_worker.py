"""The worker's side of `common.Peer`; imports nothing, because it runs in a peer's environment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping


def serve(info: Mapping[str, object], work: Callable[..., float]) -> None:
    """Say what is measured, then answer each line of standard input with the seconds that its work took."""
    print(json.dumps(info), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": work(**json.loads(line))}), flush=True)
