"""Nats an order of held-out flow: of models with a likelihood, and of marginals given the class."""

from typing import Any

import numpy as np

from marketsim.comparison.plan import Span
from marketsim.flow import Flow, flow_of
from marketsim.tape import Tape

SYMBOLS = ("class", "depth", "size", "offset")
_MARKET_CLASS = 4  # classes from here on have no depth


def has_likelihood(generator: Any) -> bool:
    """Whether a generator's losses are nats of all that an order is."""
    return getattr(generator, "architecture", None) == "tokens"


def model_nats(generator: Any, real: Tape, span: Span) -> dict[str, float]:
    """Mean nats an order of a window, by symbol."""
    import torch

    window = generator.shape[3]
    flow = flow_of(real, 0, span.end_ns)
    first = int(np.searchsorted(flow["time_ns"], span.start_ns))
    # Only second halves of windows count: the events before are read, not scored.
    flow = flow[max(first - window // 2 - 2, 0) :]
    task = generator.task([flow], [flow], generator.fitted)
    network = generator.network()
    weights = {name: torch.from_numpy(array) for name, array in generator.weights.items()}
    network.load_state_dict(weights)
    found: dict[str, float] = task.validate(network)
    return found


def marginal_nats(generator: Any, real: Tape, train: Span, span: Span) -> dict[str, float]:
    """Nats an order of frequencies in the training window: of the class, of the rest given it.

    Counted in the model's own bins, half an event added to each.
    """
    learned, told = (
        _symbols(generator, flow_of(real, part.start_ns, part.end_ns)) for part in (train, span)
    )
    classes = 6
    shares = np.bincount(learned[:, 0], minlength=classes) + 0.5
    nats = {"class": float(-np.log(shares / shares.sum())[told[:, 0]].mean())}
    for place, name in enumerate(SYMBOLS[1:], start=1):
        bins = int(max(learned[:, place].max(), told[:, place].max())) + 1
        table = np.full((classes, bins), 0.5)
        np.add.at(table, (learned[:, 0], np.maximum(learned[:, place], 0)), 1)
        logs = -np.log(table / table.sum(axis=1, keepdims=True))
        each = logs[told[:, 0], np.maximum(told[:, place], 0)]
        if name == "depth":
            each = np.where(told[:, 0] >= _MARKET_CLASS, 0.0, each)
        nats[name] = float(each.mean())
    return nats


def _symbols(generator: Any, flow: Flow) -> Any:
    """Class, depth, size and offset bins of events, int64[n, 4]."""
    from marketsim.generators.orders import encode

    return encode(flow, generator.fitted).symbols[1:]
