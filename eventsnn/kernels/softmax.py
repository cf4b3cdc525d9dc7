"""Softmax cross-entropy, row by row."""

from __future__ import annotations

import math

from eventsnn.kernels.jit import kernel


@kernel
def softmax_rows(logits, labels, losses):
    """losses = -log softmax(z)[label] of every row z of `logits`, which becomes the derivative with respect to z.

    Everything is relative to the label's logit, so that the loss is log sum exp z and exact also where it is far below
    1; where that logit is the highest, log1p of the others keeps its digits.
    """
    for r in range(labels.size):
        row, label = logits[r], labels[r]
        own, top = row[label], 0.0
        for k in range(row.size):
            row[k] -= own
            top = max(top, row[k])
        others = 0.0
        for k in range(row.size):
            row[k] = math.exp(row[k] - top)
            if k != label:
                others += row[k]
        total = others + row[label]
        losses[r] = top + math.log(total) if top > 0.0 else math.log1p(others)
        for k in range(row.size):
            row[k] /= total
        row[label] = -others / total
