"""A synfire chain: volleys of spikes travel through groups of neurons, are sharpened on the way, or die out.

    python examples/synfire_chain.py --out synfire_chain.png

Ten groups of 100 neurons; every neuron gets a synapse from each neuron of the group before, with delays of 5 ms and
some jitter. Three packets of spikes come in, one after the other: a strong one, one of too few spikes, and one with as
many spikes as the first but too spread out. After Diesmann, Gewaltig & Aertsen 1999 (doi 10.1038/990101), with neurons
of unlike thresholds in place of background noise. Times are in seconds.
"""

import argparse

import numpy as np
from scipy.sparse import eye_array, kron

from eventsnn import LIF, Dense, Network, Population, Projection, Sparse, given_spikes, simulate
from eventsnn.plotting import plot_raster

N_GROUPS = 10
DELAY, JITTER = 5e-3, 0.3e-3  # s
PAUSE = 0.1  # s, between packets
#: number of spikes and standard deviation of their times in seconds
PACKETS = {"strong": (90, 2e-3), "weak": (60, 1e-3), "broad": (90, 6e-3)}


def synfire_chain(group_size, rng):
    """All groups as one population, group g being the neurons g group_size : (g + 1) group_size."""
    n_neurons = N_GROUPS * group_size
    # Parameters may differ from neuron to neuron. About 60 spikes at once of a group of 100 make a neuron fire.
    neuron = LIF(tau_mem=10e-3, tau_syn=2e-3, v_threshold=rng.normal(1.0, 0.2, n_neurons), t_refrac=20e-3)
    weight = 1.25 / (0.1 * group_size)
    # a block of ones above each block of the diagonal: from every group to the next
    blocks = kron(eye_array(N_GROUPS, k=1), np.ones((group_size, group_size)), format="csr")
    delays = np.maximum(rng.normal(DELAY, JITTER, blocks.nnz), 0.0)
    first_group = np.zeros((group_size, n_neurons))
    first_group[:, :group_size] = weight
    return Network(
        inputs={"packets": group_size},
        populations={"chain": Population(neuron, n_neurons)},
        projections=[
            Projection("packets", "chain", Dense(first_group)),
            Projection("chain", "chain", Sparse(weight * blocks, delay=delays)),
        ],
    )


def packets(group_size, rng):
    """The three packets as spikes of `group_size` channels, at most one spike each per packet."""
    trains = [[] for _ in range(group_size)]
    for k, (n_spikes, spread) in enumerate(PACKETS.values()):
        centre = (k + 0.3) * PAUSE
        for channel in rng.permutation(group_size)[: round(n_spikes * group_size / 100)]:
            trains[channel].append(rng.normal(centre, spread))
    return given_spikes(trains)


def volleys(spikes, k, group_size):
    """Number of spikes of packet k in each group, and the standard deviation of their times."""
    mine = (spikes.times >= k * PAUSE) & (spikes.times < (k + 1) * PAUSE)
    by_group = [spikes.times[mine & (spikes.neurons // group_size == g)] for g in range(N_GROUPS)]
    return [own.size for own in by_group], [own.std() if own.size > 1 else np.nan for own in by_group]


def main():
    """Build, simulate, measure, draw."""
    parser = argparse.ArgumentParser(description="Pulse packets in a synfire chain.")
    parser.add_argument("--group-size", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="synfire_chain.png", help="picture to write")
    arguments = parser.parse_args()
    rng, size = np.random.default_rng(arguments.seed), arguments.group_size

    network = synfire_chain(size, rng)
    print(network)
    result = simulate(network, packets(size, rng), t_max=len(PACKETS) * PAUSE)

    for k, name in enumerate(PACKETS):
        n_in, spread_in = (values[0] for values in volleys(result.spikes["packets"], k, size))
        counts, spreads = volleys(result.spikes["chain"], k, size)
        print(f"\n{name} packet: {n_in} spikes, spread {spread_in * 1e3:.2f} ms")
        print("group         ", *(f"{g + 1:6d}" for g in range(N_GROUPS)))
        print("spikes        ", *(f"{n:6d}" for n in counts))
        print("spread [ms]   ", *(f"{spread * 1e3:6.2f}" for spread in spreads))
        print("-> dies out" if counts[-1] == 0 else f"-> arrives, spread {spreads[-1] * 1e3:.2f} ms")
    plot_raster(result, rate_bin=1e-3, path=arguments.out)
    print(f"\npicture: {arguments.out}")


if __name__ == "__main__":
    main()
