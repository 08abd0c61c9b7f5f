"""Adam in NumPy and float64, for tests of what the package makes of it."""

import numpy as np


def adam(gradients, rate, b1=0.9, b2=0.999, eps=1e-8):
    """The updates that Adam (Kingma & Ba 2015, algorithm 1) makes of these gradients, one after the other."""
    first = second = np.zeros_like(np.asarray(gradients[0], np.float64))
    found = []
    for i, gradient in enumerate(np.asarray(gradients, np.float64), 1):
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        found.append(-rate * first / (1 - b1**i) / (np.sqrt(second / (1 - b2**i)) + eps))
    return np.stack(found)


def updates(optimizer, gradients, params):
    """What `optimizer` makes of gradients, one after the other, where the parameters stay as they are."""
    state, found = optimizer.init(params), []
    for gradient in gradients:
        update, state = optimizer.update(gradient, state, params)
        found.append(update)
    return found
