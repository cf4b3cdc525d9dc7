"""Pictures of training, weights, spikes, voltages and surrogates; every function returns a matplotlib `Figure`.

The functions draw on figures of their own (no pyplot, no global state, no window), so they work headless and in
threads. With `path` the picture is also written, atomically. matplotlib is imported on first use of a name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventsnn.errors import MissingDependencyError

if TYPE_CHECKING:
    from eventsnn.plotting.activity import plot_intervals
    from eventsnn.plotting.classification import plot_confusion_matrix
    from eventsnn.plotting.clocked_traces import plot_clocked_traces
    from eventsnn.plotting.conversion import plot_accuracy_over_time, plot_activations, plot_layer_rates
    from eventsnn.plotting.delays import plot_delay_histograms, plot_delay_matrices
    from eventsnn.plotting.euler import plot_euler_comparison
    from eventsnn.plotting.history import plot_history
    from eventsnn.plotting.learned_spike import plot_learned_spike
    from eventsnn.plotting.parameters import plot_parameters
    from eventsnn.plotting.report import write_comparison, write_report
    from eventsnn.plotting.sheet import plot_beside, plot_sheet
    from eventsnn.plotting.spike_times import plot_spike_time_histograms, plot_time_differences
    from eventsnn.plotting.spikes import plot_raster, plot_sorted_output_times
    from eventsnn.plotting.surrogates import plot_surrogates
    from eventsnn.plotting.sweep import plot_sweep
    from eventsnn.plotting.traces import plot_traces
    from eventsnn.plotting.weights import (
        plot_receptive_fields,
        plot_weight_histograms,
        plot_weight_matrices,
    )
    from eventsnn.plotting.yin_yang import (
        plot_yin_yang_hidden_times,
        plot_yin_yang_map,
        plot_yin_yang_output_times,
        plot_yin_yang_time_differences,
    )
    from eventsnn.plotting.yin_yang_plane import yin_yang_first_times

__all__ = [
    "plot_accuracy_over_time",
    "plot_activations",
    "plot_beside",
    "plot_clocked_traces",
    "plot_confusion_matrix",
    "plot_delay_histograms",
    "plot_delay_matrices",
    "plot_euler_comparison",
    "plot_history",
    "plot_intervals",
    "plot_layer_rates",
    "plot_learned_spike",
    "plot_parameters",
    "plot_raster",
    "plot_receptive_fields",
    "plot_sheet",
    "plot_sorted_output_times",
    "plot_spike_time_histograms",
    "plot_surrogates",
    "plot_sweep",
    "plot_time_differences",
    "plot_traces",
    "plot_weight_histograms",
    "plot_weight_matrices",
    "plot_yin_yang_hidden_times",
    "plot_yin_yang_map",
    "plot_yin_yang_output_times",
    "plot_yin_yang_time_differences",
    "write_comparison",
    "write_report",
    "yin_yang_first_times",
]

_HOMES = {
    "plot_accuracy_over_time": "conversion",
    "plot_activations": "conversion",
    "plot_layer_rates": "conversion",
    "plot_beside": "sheet",
    "plot_clocked_traces": "clocked_traces",
    "plot_confusion_matrix": "classification",
    "plot_delay_histograms": "delays",
    "plot_delay_matrices": "delays",
    "plot_learned_spike": "learned_spike",
    "plot_euler_comparison": "euler",
    "plot_history": "history",
    "plot_intervals": "activity",
    "plot_parameters": "parameters",
    "plot_raster": "spikes",
    "plot_receptive_fields": "weights",
    "plot_sheet": "sheet",
    "plot_sorted_output_times": "spikes",
    "plot_spike_time_histograms": "spike_times",
    "plot_surrogates": "surrogates",
    "plot_sweep": "sweep",
    "plot_time_differences": "spike_times",
    "plot_traces": "traces",
    "plot_weight_histograms": "weights",
    "plot_weight_matrices": "weights",
    "plot_yin_yang_hidden_times": "yin_yang",
    "plot_yin_yang_map": "yin_yang",
    "plot_yin_yang_output_times": "yin_yang",
    "plot_yin_yang_time_differences": "yin_yang",
    "write_comparison": "report",
    "write_report": "report",
    "yin_yang_first_times": "yin_yang_plane",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise MissingDependencyError(f"plotting.{name} needs matplotlib: pip install matplotlib") from error


def __dir__() -> list[str]:
    return sorted(__all__)
