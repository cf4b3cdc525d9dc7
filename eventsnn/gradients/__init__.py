"""Exact gradients, derived by hand."""

from eventsnn.gradients.check import GradientReport, check_gradients
from eventsnn.gradients.eventprop_adjoint import eventprop
from eventsnn.gradients.eventprop_check import check_eventprop
from eventsnn.gradients.eventprop_sums import EventPropGradients, VoltageGradient
from eventsnn.gradients.first_spike import Gradients, loss_and_grad
from eventsnn.gradients.spike_margins import Margins, margins

__all__ = ["EventPropGradients", "GradientReport", "Gradients", "Margins", "VoltageGradient", "check_gradients"]
__all__ += ["check_eventprop", "eventprop", "loss_and_grad", "margins"]
