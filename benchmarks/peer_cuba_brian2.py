"""Worker: the CUBA network in Brian2, on one thread. Started by bench_recurrent.py.

    python peer_cuba_brian2.py NETWORK.npz cython|standalone [--dt S] [--delay S] [--t-max S] [--spikes OUT.npz]

As in Brian2's own CUBA example: exact integration, two groups of synapses with constant weights. NETWORK.npz holds
`cuba.cuba_network(...)`; all times are in seconds. The seconds answered are the wall time of the run phase only: what
`run` calls elapsed, or a clock around the run in the program that is built. Each answer starts from the same state.

Brian2 dates a spike by the start of the step at whose end the threshold is seen to be crossed, and counts the
refractory time from there. The times written are one step later, where the jump of the currents takes effect, and the
refractory time is one step longer, so that v is held for T_REFRAC.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import brian2 as b2
import cuba
import numpy as np
from common_worker import serve

EQUATIONS = """
dv/dt = (v_leak - v + i_exc + i_inh)/tau_mem : 1 (unless refractory)
di_exc/dt = -i_exc/tau_exc : 1
di_inh/dt = -i_inh/tau_inh : 1
"""
CONSTANTS = {
    "v_leak": cuba.V_LEAK, "v_threshold": cuba.V_THRESHOLD, "v_reset": cuba.V_RESET,
    "w_exc": cuba.WEIGHT_EXC, "w_inh": cuba.WEIGHT_INH,
    "tau_mem": cuba.TAU_MEM * b2.second, "tau_exc": cuba.TAU_EXC * b2.second, "tau_inh": cuba.TAU_INH * b2.second,
}  # fmt: skip


def build(network: cuba.Network, dt: float, delay: float) -> tuple[b2.Network, b2.SpikeMonitor]:
    b2.defaultclock.dt = dt * b2.second
    neurons = b2.NeuronGroup(
        len(network["v0"]), EQUATIONS, threshold="v >= v_threshold", reset="v = v_reset", method="exact",
        refractory=(cuba.T_REFRAC + dt) * b2.second, namespace=CONSTANTS,
    )  # fmt: skip
    neurons.v = network["v0"]
    n_exc, source = int(network["n_exc"]), cuba.sources(network)
    parts = [neurons]
    for of_kind, members, on_pre, weight in (
        (source < n_exc, slice(0, n_exc), "i_exc_post += w_exc", cuba.WEIGHT_EXC),
        (source >= n_exc, slice(n_exc, None), "i_inh_post += w_inh", cuba.WEIGHT_INH),
    ):
        assert (network["weights"][of_kind] == weight).all()
        if of_kind.any():
            group = neurons[members]
            synapses = b2.Synapses(group, neurons, on_pre=on_pre, delay=delay * b2.second, namespace=CONSTANTS)
            synapses.connect(i=source[of_kind] - members.start, j=network["targets"][of_kind].astype(int))
            parts.append(synapses)
    monitor = b2.SpikeMonitor(neurons)
    return b2.Network(*parts, monitor), monitor


class Cython:
    """Brian2's runtime mode: one compiled function for each part, called from Python in every step."""

    def __init__(self, network: cuba.Network, options: argparse.Namespace) -> None:
        b2.prefs.codegen.target = "cython"
        self.t_max = options.t_max * b2.second
        self.network, self.monitor = build(network, options.dt, options.delay)
        self.network.store()
        self.network.run(options.dt * b2.second)  # compiles

    def run(self) -> float:
        self.network.restore()
        elapsed = []
        self.network.run(self.t_max, report=lambda *report: elapsed.append(report[0]), report_period=1e6 * b2.second)
        return float(elapsed[-1])


class Standalone:
    """Brian2's standalone mode: a C++ program that builds the network and runs it."""

    def __init__(self, network: cuba.Network, options: argparse.Namespace) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.seconds = Path(self.directory.name) / "seconds.txt"
        b2.set_device("cpp_standalone", build_on_run=False)
        b2.prefs.codegen.cpp.headers += ["<chrono>", "<fstream>"]
        model, self.monitor = build(network, options.dt, options.delay)
        # Brian2's own figure is processor time; everything else here is wall time
        clock = "std::chrono::steady_clock::now()"
        b2.device.insert_code("before_network_run", f"const auto begin = {clock};")
        b2.device.insert_code(
            "after_network_run",
            f'std::ofstream("seconds.txt") << std::chrono::duration<double>({clock} - begin).count();',
        )
        model.run(options.t_max * b2.second)
        b2.device.build(directory=self.directory.name, run=False, with_output=False)

    def run(self) -> float:
        b2.device.run(directory=self.directory.name, with_output=False)
        return float(self.seconds.read_text())


def main() -> None:
    network, options = cuba.worker_arguments(__doc__ or "", ["cython", "standalone"])

    start = time.perf_counter()
    simulation = (Cython if options.mode == "cython" else Standalone)(network, options)
    info = {
        "brian2": b2.__version__, "mode": options.mode, "dt": options.dt, "delay": options.delay,
        "build_seconds": time.perf_counter() - start,
    }  # fmt: skip

    def work() -> float:
        seconds = simulation.run()
        if options.spikes is not None:
            times, neurons = np.asarray(simulation.monitor.t_), np.asarray(simulation.monitor.i)
            np.savez(options.spikes, times=times + options.dt, neurons=neurons)
        return seconds

    serve(info, work)


if __name__ == "__main__":
    main()
