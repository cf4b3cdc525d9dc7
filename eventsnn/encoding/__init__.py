"""Values into spikes: latency, rate and delta codes."""

from eventsnn.encoding.delta_code import encode_delta
from eventsnn.encoding.latency_codes import (
    check_window,
    encode_latency,
    encode_latency_rc,
    encode_latency_steps,
    latency,
)
from eventsnn.encoding.rate_code import encode_rate

__all__ = [
    "check_window",
    "encode_delta",
    "encode_latency",
    "encode_latency_rc",
    "encode_latency_steps",
    "encode_rate",
    "latency",
]
