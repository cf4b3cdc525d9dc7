"""Start-up: importing the package, the first run with a cold compile cache, and every later run.

    python benchmarks/bench_startup.py

Each figure is a process of its own, wall-clock. "library" builds a network and takes one batch's gradient; "command" is
`eventsnn train yin_yang --epochs 1`, pictures included. Cold means an empty NUMBA_CACHE_DIR.

What was learned
----------------
- Nearly all of a cold start is LLVM; the stamp over all kernel files (`eventsnn.kernels.jit`) takes 1 to 2 ms of the
  import of the kernels.
- Warm, most of the library's second is the import of Numba and reading the machine code; most of the command's time is
  drawing the pictures.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import arguments, finish, print_machine, print_table, significant, timed

import eventsnn

LIBRARY = """
import numpy as np
from eventsnn import LIF, Dense, FirstSpikeCrossEntropy, Sequential, Spikes, loss_and_grad
rng = np.random.default_rng(0)
lif = LIF(tau_mem=10e-3, tau_syn=5e-3, max_spikes=1)
parts = [Dense.normal(5, 120, mean=3.0, std=1.6, rng=rng), lif, Dense.normal(120, 3, mean=1.0, std=1.6, rng=rng), lif]
spikes = Spikes.from_first_times(rng.uniform(1e-3, 10e-3, (150, 5)))
loss_and_grad(Sequential(parts).astype(np.float32), spikes, rng.integers(0, 3, 150), FirstSpikeCrossEntropy())
"""
PROGRAMS = {
    "python alone": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import eventsnn": ["-c", "import eventsnn"],
    "library, one batch": ["-c", LIBRARY],
    "command, one epoch": ["-m", "eventsnn", "train", "yin_yang", "--epochs", "1"],
}
#: so that the processes import the same eventsnn as this one
PACKAGE = str(Path(eventsnn.__file__).parents[1])
COLD = ("library, one batch", "command, one epoch")


def main() -> None:
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("--cold-rounds", type=int, default=1, help="rounds with an empty compile cache (default 1)")
    options = parser.parse_args()
    print_machine()
    print()

    def start(program: str, cache: Path, folder: Path) -> float:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": PACKAGE}

        def work() -> None:
            done = subprocess.run(
                [sys.executable, *PROGRAMS[program]], cwd=folder, env=environment, capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(f"{program}, status {done.returncode}: {done.stderr}")

        return timed(work)

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for program in COLD:
            took = [start(program, folder / f"{program} {k}", folder) for k in range(options.cold_rounds)]
            seconds[f"{program}, cold"] = statistics.median(took)
        warm = folder / f"{COLD[-1]} 0"
        for program in COLD:
            start(program, warm, folder)  # what a command compiles need not be all that the library example does
        turns: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        for _ in range(options.rounds):
            for program, took in turns.items():
                took.append(start(program, warm, folder))
        seconds |= {program: statistics.median(took) for program, took in turns.items()}

    alone = seconds["python alone"]
    print_table(
        ["seconds", "warm", "less python alone", "cold", "cold / warm"],
        [
            [
                program, f"{seconds[program]:.2f}", f"{seconds[program] - alone:.2f}",
                *([f"{seconds[f'{program}, cold']:.1f}", f"{seconds[f'{program}, cold'] / seconds[program]:.1f}"]
                  if program in COLD else ["", ""]),
            ]
            for program in PROGRAMS
        ],
    )  # fmt: skip
    ratios = {
        f"{program}, cold / warm": significant(seconds[f"{program}, cold"] / seconds[program]) for program in COLD
    }
    finish(
        "startup", {"seconds": {name: significant(value) for name, value in seconds.items()}, "ratios": ratios},
        options.out,
    )  # fmt: skip


if __name__ == "__main__":
    main()
