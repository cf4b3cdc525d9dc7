"""Programs of their own, as a variable of the environment may have to be set before numba is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def result_of(script: str, *arguments: Any, **environment: str) -> Any:
    """What a Python program prints as JSON."""
    run = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], env=os.environ | environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)
