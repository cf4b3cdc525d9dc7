"""Exact gradients, derived by hand."""

from eventsnn.gradients.check import GradientReport, check_gradients
from eventsnn.gradients.eventprop import EventPropGradients, VoltageGradient, eventprop
from eventsnn.gradients.first_spike import Gradients, loss_and_grad

__all__ = ["EventPropGradients", "GradientReport", "Gradients", "VoltageGradient", "check_gradients"]
__all__ += ["eventprop", "loss_and_grad"]
