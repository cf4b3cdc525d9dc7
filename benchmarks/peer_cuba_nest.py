"""Worker: the CUBA network in NEST, on one thread. Started by bench_recurrent.py.

    python peer_cuba_nest.py NETWORK.npz grid|precise [--dt S] [--delay S] [--t-max S] [--spikes OUT.npz]

grid: iaf_psc_exp, spikes at multiples of the step. precise: iaf_psc_exp_ps, spikes between them; it looks for a
crossing at each input and each end of a step only, so it can miss one that is undone in between. NETWORK.npz holds
`cuba.cuba_network(...)`; all times are in seconds. The seconds answered are the wall time of nest.Run only; each answer
but the first builds the network anew.

NEST wants currents in pA: with C_m in pF as large as tau_m in ms, 1 pA drives by 1 mV. A delay is at least one step.
"""

from __future__ import annotations

import os
import time

os.environ["OMP_NUM_THREADS"] = "1"

import cuba
import nest
import numpy as np
from common_worker import serve

MODELS = {"grid": "iaf_psc_exp", "precise": "iaf_psc_exp_ps"}
PARAMETERS = {
    "C_m": 1e3 * cuba.TAU_MEM, "tau_m": 1e3 * cuba.TAU_MEM, "t_ref": 1e3 * cuba.T_REFRAC,
    "tau_syn_ex": 1e3 * cuba.TAU_EXC, "tau_syn_in": 1e3 * cuba.TAU_INH,
    "E_L": cuba.V_LEAK, "V_reset": cuba.V_RESET, "V_th": cuba.V_THRESHOLD,
}  # fmt: skip


def build(network: cuba.Network, model: str, dt: float, delay: float) -> nest.NodeCollection:
    """A spike recorder that listens to the whole network, ready to run."""
    nest.ResetKernel()
    nest.resolution = _milliseconds(dt)
    nest.local_num_threads = 1
    neurons = nest.Create(model, len(network["v0"]), params=PARAMETERS)
    neurons.V_m = network["v0"]
    pre = neurons[0].global_id + cuba.sources(network)
    post = neurons[0].global_id + network["targets"].astype(int)
    delays = np.full(len(pre), _milliseconds(delay))
    if len(pre):
        nest.Connect(pre, post, "one_to_one", {"weight": network["weights"], "delay": delays})
    recorder = nest.Create("spike_recorder")
    # its delay counts, too, when NEST takes the smallest one as the interval at which it exchanges spikes
    nest.Connect(neurons, recorder, syn_spec={"delay": _milliseconds(delay)})
    nest.Prepare()
    return recorder


def _milliseconds(seconds: float) -> float:
    return round(1e3 * seconds, 9)


def main() -> None:
    network, options = cuba.worker_arguments(__doc__ or "", MODELS)
    if options.delay < options.dt:
        raise SystemExit(f"--delay: NEST needs at least one step, {options.dt} s, got {options.delay}")
    nest.verbosity = nest.VerbosityLevel.ERROR

    def prepared() -> nest.NodeCollection:
        return build(network, MODELS[options.mode], options.dt, options.delay)

    start = time.perf_counter()
    waiting = [prepared()]
    info = {
        "nest": nest.__version__, "mode": options.mode, "dt": options.dt, "delay": options.delay,
        "build_seconds": time.perf_counter() - start,
    }  # fmt: skip

    def work() -> float:
        recorder = waiting.pop() if waiting else prepared()
        start = time.perf_counter()
        nest.Run(_milliseconds(options.t_max))
        seconds = time.perf_counter() - start
        nest.Cleanup()
        if options.spikes is not None:
            events = recorder.events
            np.savez(options.spikes, times=1e-3 * events["times"], neurons=events["senders"] - 1)
        return seconds

    serve(info, work)


if __name__ == "__main__":
    main()
