"""A balanced recurrent network (CUBA, 4,000 and 40,000 neurons): time, the peers' errors, and what sets the cost.

    python benchmarks/bench_recurrent.py [--peer-python PATH] [--part speed large errors cost memory]

All simulators have the same synapses and start (cuba.py), run one thread and 1 s of biological time, and are timed
without building the network, in turn.

- speed: 4,000 neurons with no delay (Brian2; NEST cannot, it has one step, 0.1 ms) and with 1.5 ms.
- large: 40,000 neurons.
- errors: spike times of Brian2 and NEST against ours as their step shrinks; chaos makes any two rasters part, so the
  time at which they do is what a smaller step buys.
- cost: nanoseconds per synaptic event against network size, rate and delay (picture beside --out).
- memory: bytes per spike, and what a longer run adds.

What was learned
----------------
- Handing thirty arrays from one compiled function to another costs a hundred nanoseconds (seven words each): all but
  the innermost loops are inlined, and neurons to be solved go through a list. 69 -> 45 ns per synaptic event.
- The exact solver for any interval was half of the rest. Windows are short, so the slopes at both ends prove nearly
  always that the potential only rises; Halley's iteration from the parabola then needs two steps. 45 -> 26 ns.
- One cache line per neuron (headroom, p, q of each receptor side by side) serves a synaptic event.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

import cuba
import numpy as np
from common import Peer, arguments, finish, medians, print_machine, print_table, significant

from eventsnn import LIF, Network, Population, Projection, Sparse
from eventsnn.simulation.priority_queue import build_part, copy_state, run_queue, start_state

NO_EVENTS = np.empty(0), np.empty(0, np.int64)


class Own:
    """The network in eventsnn, built and ready to run."""

    def __init__(self, arrays: cuba.Network, v_leak: float = cuba.V_LEAK) -> None:
        n = arrays["v0"].size
        cell = LIF(
            tau_mem=cuba.TAU_MEM, tau_syn={"exc": cuba.TAU_EXC, "inh": cuba.TAU_INH}, v_threshold=cuba.V_THRESHOLD,
            v_reset=cuba.V_RESET, v_leak=v_leak, t_refrac=cuba.T_REFRAC,
        )  # fmt: skip
        excites = cuba.sources(arrays) < arrays["n_exc"]
        self.network = Network(
            {},
            {"cell": Population(cell, n)},
            [
                Projection("cell", "cell", Sparse(_matrix(arrays, mine), delay=float(arrays["delay"])), receptor)
                for receptor, mine in (("exc", excites), ("inh", ~excites))
            ],
        )
        self.part = build_part(self.network, ("cell",))
        self.start = start_state(self.part.network, arrays["v0"] - v_leak, np.zeros((n, 2)), 0.0)

    def run(self, t_max: float = 1.0):
        return run_queue(self.part, copy_state(self.start), *NO_EVENTS, t_max, 10**8)


def _matrix(arrays, mine):
    from scipy.sparse import coo_array

    n = arrays["v0"].size
    return coo_array((arrays["weights"][mine], (cuba.sources(arrays)[mine], arrays["targets"][mine])), shape=(n, n))


def main() -> None:
    parser = arguments(__doc__, rounds=5, peers=True)
    parser.add_argument("--part", nargs="+", default=["speed", "large", "errors", "cost", "memory"])
    parser.add_argument("--nest-python", metavar="PATH", help="interpreter with NEST, if not that of --peer-python")
    options = parser.parse_args()
    options.nest_python = options.nest_python or options.peer_python
    print_machine()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        if "speed" in options.part:
            for delay in (0.0, 1.5e-3):
                results[f"speed_{1e3 * delay:g}ms"] = speed(4000, delay, options, Path(folder), options.rounds)
        if "large" in options.part:
            results["large"] = speed(40_000, 0.0, options, Path(folder), max(1, options.rounds // 2))
        if "errors" in options.part and not options.no_peer:
            results["errors"] = errors(options, Path(folder))
    if "cost" in options.part:
        results["cost"] = cost(options)
    if "memory" in options.part:
        results["memory"] = memory()
    finish("recurrent", results, options.out)


def peers(n: int, delay: float, options, file: Path) -> dict[str, Peer]:
    """The simulators that can run this network, as workers."""
    if options.no_peer:
        return {}
    wanted = {
        "Brian2 standalone 0.1 ms": ("peer_cuba_brian2.py", options.peer_python, ["standalone", "--delay", str(delay)]),
        "Brian2 Cython 0.1 ms": ("peer_cuba_brian2.py", options.peer_python, ["cython", "--delay", str(delay)]),
    }
    least = max(delay, 1e-4)
    if n <= 4000:
        for model, name in (("grid", "NEST iaf_psc_exp"), ("precise", "NEST iaf_psc_exp_ps")):
            label = f"{name}{'' if delay else ', delay 0.1 ms'}"
            wanted[label] = "peer_cuba_nest.py", options.nest_python, [model, "--delay", str(least)]
    found = {name: Peer(script, python, [str(file), *extra]) for name, (script, python, extra) in wanted.items()}
    return {name: peer for name, peer in found.items() if peer.missing is None}


def speed(n: int, delay: float, options, folder: Path, rounds: int) -> dict:
    """Wall time of one second."""
    file = folder / f"cuba_{n}_{delay}.npz"
    arrays = cuba.cuba_network(n, seed=0, delay=delay)
    np.savez(file, **arrays)
    own, workers = Own(arrays), peers(n, delay, options, file)
    candidates = {"eventsnn": own.run, **workers}
    seconds = medians(candidates, rounds)
    shortest_delay = Own(cuba.cuba_network(n, seed=0, delay=1e-4)) if not delay and n <= 4000 else None
    if shortest_delay is not None:
        seconds["eventsnn, delay 0.1 ms"] = medians({"": shortest_delay.run}, rounds)[""]
    outcome = own.run()
    n_events = outcome.n_synaptic_events
    print(f"{n:,} neurons, delay {1e3 * delay:g} ms: {outcome.times.size:,} spikes, {n_events:,} synaptic events\n")
    rows = [
        [name, f"{took:.3f}", f"{1e9 * took / n_events:.1f}", f"{took / seconds['eventsnn']:.2f}"]
        for name, took in seconds.items()
    ]
    print_table(["1 s biological, 1 thread", "wall s", "ns per synaptic event", "time / eventsnn"], rows)
    for worker in workers.values():
        worker.close()
    return {
        "spikes": outcome.times.size, "synaptic_events": n_events, "windows": int(outcome.state.counts[-1]),
        "seconds": {name: significant(took) for name, took in seconds.items()},
        "time_over_eventsnn": {name: significant(took / seconds["eventsnn"]) for name, took in seconds.items()},
    }  # fmt: skip


def errors(options, folder: Path, t_max: float = 0.3) -> list[dict]:
    """How far the peers' rasters agree with ours, for shrinking steps."""
    delay = 1.5e-3
    arrays = cuba.cuba_network(4000, seed=0, delay=delay)
    file, spikes = folder / "errors.npz", folder / "spikes.npz"
    np.savez(file, **arrays)
    outcome = Own(arrays).run(t_max)
    ours = outcome.times, outcome.neurons
    found, rows = [], []
    for name, script, python, mode, steps in (
        ("Brian2", "peer_cuba_brian2.py", options.peer_python, "cython", (1e-4, 5e-5, 2.5e-5, 1.25e-5)),
        ("NEST iaf_psc_exp", "peer_cuba_nest.py", options.nest_python, "grid", (1e-4, 5e-5, 2.5e-5, 1e-5)),
        ("NEST iaf_psc_exp_ps", "peer_cuba_nest.py", options.nest_python, "precise", (1e-4, 2.5e-5)),
    ):
        for dt in steps:
            worker = Peer(
                script, python,
                [str(file), mode, "--dt", str(dt), "--delay", str(delay), "--t-max", str(t_max), "--spikes",
                 str(spikes)],
            )  # fmt: skip
            if worker.missing is not None:
                break
            worker()
            worker.close()
            with np.load(spikes) as theirs:
                distance = cuba.spike_distance(ours, (theirs["times"], theirs["neurons"]), until=t_max - 2e-3)
            found.append({"peer": name, "dt": dt, **{key: significant(value) for key, value in distance.items()}})
            rows.append([
                f"{name}, step {1e3 * dt:g} ms", distance["n_matched"], f"{1e6 * distance['median_error']:.3g}",
                f"{1e6 * distance['max_error']:.3g}", f"{1e3 * distance['diverged_at']:.1f}",
            ])  # fmt: skip
    print(f"delay {1e3 * delay:g} ms, {1e3 * t_max:g} ms biological, {len(ours[0]):,} spikes of ours\n")
    print_table(["spike times against ours", "matched", "median us", "largest us", "part at ms"], rows)
    return found


def cost(options) -> dict:
    """Nanoseconds per synaptic event as size, rate and delay vary, and the time of a silent second."""
    sweeps = {
        "neurons": [(n, cuba.cuba_network(n, 0), cuba.V_LEAK) for n in (1000, 2000, 4000, 8000, 16_000)],
        "v_leak (mV)": [(v, cuba.cuba_network(4000, 0), v) for v in (10.25, 10.5, 11.0, 12.0, 14.0)],
        "delay (ms)": [
            (1e3 * d, cuba.cuba_network(4000, 0, delay=d), cuba.V_LEAK) for d in (0.0, 1e-4, 5e-4, 1.5e-3, 5e-3)
        ],
    }
    found, rows = {}, []
    for name, cases in sweeps.items():
        own = {value: Own(arrays, v_leak) for value, arrays, v_leak in cases}
        seconds = medians({value: (lambda net=net: net.run(0.5)) for value, net in own.items()}, options.rounds)
        found[name] = []
        for value, net in own.items():
            outcome = net.run(0.5)
            n_events, rate = outcome.n_synaptic_events, outcome.times.size / 0.5 / net.part.network.theta.size
            found[name].append(
                {"value": value, "seconds": seconds[value], "synaptic_events": n_events, "rate_hz": rate}
            )
            rows.append([
                f"{name} {value:g}", f"{rate:.1f}", f"{n_events:,}", f"{1e3 * seconds[value]:.1f}",
                f"{1e9 * seconds[value] / n_events:.1f}",
            ])  # fmt: skip
    quiet = Own(cuba.cuba_network(4000, 0), v_leak=9.0)
    silence = medians({t: (lambda t=t: quiet.run(t)) for t in (1.0, 1000.0)}, options.rounds)
    print_table(["0.5 s biological", "rate Hz", "synaptic events", "ms", "ns per synaptic event"], rows)
    print(
        f"a network that falls silent: 1 s in {1e3 * silence[1.0]:.2f} ms, 1,000 s in {1e3 * silence[1000.0]:.2f} ms\n"
    )
    if options.out is not None:
        _draw(found, options.out.with_suffix(".png"))
    return {"sweeps": found, "silent_ms": {str(t): significant(1e3 * s) for t, s in silence.items()}}


def _draw(found: dict, path: Path) -> None:
    from eventsnn.plotting.style import new_figure, save

    figure = new_figure(7.0, 4.4)
    ax = figure.subplots()
    everything = [point for points in found.values() for point in points]
    slope = np.median([p["seconds"] / p["synaptic_events"] for p in everything])
    most = max(p["synaptic_events"] for p in everything)
    ax.plot([0, 1e-6 * most], [0, 1e3 * slope * most], color="0.7", label=f"{1e9 * slope:.0f} ns per synaptic event")
    for (name, points), marker in zip(found.items(), "os^", strict=True):
        low, high = points[0]["value"], points[-1]["value"]
        ax.plot(
            [1e-6 * p["synaptic_events"] for p in points], [1e3 * p["seconds"] for p in points], marker, ls="none",
            label=f"{name} {low:g} to {high:g}",
        )  # fmt: skip
    ax.set_xlabel("synaptic events (million)")
    ax.set_ylabel("time of 0.5 s biological (ms)")
    ax.set_xlim(0)
    ax.set_ylim(0)
    ax.legend()
    save(figure, path)


def memory() -> dict:
    """Peak of the memory that a run asks for, against its length."""
    own = Own(cuba.cuba_network(4000, 0, delay=1.5e-3))
    state = sum(array.nbytes for array in own.start)
    rows, found = [], []
    for t_max in (0.25, 1.0, 4.0):
        tracemalloc.start()
        outcome = own.run(t_max)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found.append({"t_max": t_max, "spikes": outcome.times.size, "peak_bytes": peak})
        rows.append(
            [f"{t_max:g} s", f"{outcome.times.size:,}", f"{peak:,}", f"{(peak - state) / outcome.times.size:.0f}"]
        )
    print(f"state {state:,} bytes for 4,000 neurons; a spike kept is 16 bytes (time and neuron)\n")
    print_table(["memory", "spikes", "peak bytes", "bytes per spike beyond the state"], rows)
    per_spike = (found[-1]["peak_bytes"] - found[0]["peak_bytes"]) / (found[-1]["spikes"] - found[0]["spikes"])
    return {"state_bytes": state, "runs": found, "bytes_per_further_spike": significant(per_spike)}


if __name__ == "__main__":
    main()
