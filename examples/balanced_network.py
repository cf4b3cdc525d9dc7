"""A recurrent network of 4,000 neurons that excitation and inhibition keep irregular, without any input.

    python examples/balanced_network.py --seconds 2 --out balanced_network.png

The current-based network of Vogels & Abbott 2005 (doi 10.1523/JNEUROSCI.3508-05.2005) as in benchmark 2 of Brette et
al. 2007 (doi 10.1007/s10827-007-0038-6): 80 % of the neurons excite, the others inhibit, every neuron gets about 80
synapses (2 % of 4,000), and a resting potential above threshold keeps them going. Times are in seconds, potentials and
weights in mV above the reset potential.
"""

import argparse
import time

import numpy as np

from eventsnn import LIF, Network, Population, Projection, Sparse, simulate
from eventsnn.plotting import plot_raster

SYNAPSES_PER_NEURON = 80
WEIGHTS = {"exc": 1.62, "inh": -9.0}  # mV
V_RESET, V_THRESHOLD, V_LEAK = 0.0, 10.0, 11.0  # mV


def balanced_network(n_neurons, rng):
    """The network; a spike goes to the receptor named after the population that sent it."""
    cell = LIF(
        tau_mem=20e-3,
        tau_syn={"exc": 5e-3, "inh": 10e-3},
        v_threshold=V_THRESHOLD,
        v_reset=V_RESET,
        v_leak=V_LEAK,
        t_refrac=5e-3,
    )
    n_exc = round(0.8 * n_neurons)
    populations = {"exc": Population(cell, n_exc), "inh": Population(cell, n_neurons - n_exc)}
    projections = [
        Projection(
            source,
            target,
            Sparse.random(
                populations[source].n_neurons,
                populations[target].n_neurons,
                probability=min(1.0, SYNAPSES_PER_NEURON / n_neurons),
                weight=WEIGHTS[source],
                rng=rng,
                self_connections=source != target,
            ),
            receptor=source,
        )
        for source in populations
        for target in populations
    ]
    return Network(inputs={}, populations=populations, projections=projections)


def main():
    """Build, simulate, measure, draw."""
    parser = argparse.ArgumentParser(description="The CUBA network: irregular activity without input.")
    parser.add_argument("--n-neurons", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=2.0, help="simulated time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="balanced_network.png", help="picture to write")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    start = time.perf_counter()
    network = balanced_network(arguments.n_neurons, rng)
    # All neurons starting alike would fire in step: spread them between reset and threshold.
    initial = {
        name: {"v": rng.uniform(V_RESET, V_THRESHOLD, population.n_neurons)}
        for name, population in network.populations.items()
    }
    print(f"{network}\nbuilt in {time.perf_counter() - start:.2f} s")

    start = time.perf_counter()
    result = simulate(network, t_max=arguments.seconds, initial=initial)
    wall = time.perf_counter() - start

    for name in network.populations:
        intervals = [own for own in result.intervals(name) if own.size >= 5]
        cv = np.mean([own.std(ddof=1) / own.mean() for own in intervals]) if intervals else np.nan
        print(
            f"{name}: {result.spikes[name].n_events} spikes, rate {result.rates(name).mean():.2f} Hz, "
            f"CV of the intervals {cv:.2f} (mean of {len(intervals)} neurons with 5 or more)"
        )
    print(f"{result.n_synaptic_events:,} synaptic events")
    print(f"simulated {arguments.seconds:g} s in {wall:.2f} s (the very first run also compiles)")
    plot_raster(result, rate_bin=arguments.seconds / 200, path=arguments.out)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
