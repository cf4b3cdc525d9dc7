"""Exact gradients, derived by hand, and the one surrogate that spike counts need."""

from eventsnn.gradients.check import GradientReport, check_gradients
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.gradients.eventprop_check import check_eventprop
from eventsnn.gradients.eventprop_sums import EventPropGradients, VoltageGradient
from eventsnn.gradients.loss_gradient import Gradients, loss_and_grad
from eventsnn.gradients.spike_count_surrogate import SpikeCountSurrogate
from eventsnn.gradients.spike_margins import Margins, margins

__all__ = ["EventPropGradients", "GradientReport", "Gradients", "Margins", "SpikeCountSurrogate"]
__all__ += ["VoltageGradient", "check_eventprop", "check_gradients", "eventprop", "loss_and_grad", "margins"]
