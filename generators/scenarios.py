"""Windows of chosen risk: drawn so that a strategy's expected shortfall is what is asked for."""

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from marketsim.checks import integer, number
from marketsim.data.return_windows import Windows
from marketsim.errors import ConfigError, DataError
from marketsim.generators.returns import Conditions, ReturnGenerator
from marketsim.ledger import trade
from marketsim.strategies import Strategy
from marketsim.wealth import ALPHA

Floats = NDArray[np.float64]

#: Least of the drawn windows that must count, by weight: fewer, and they would be copies.
LEAST_EFFECTIVE = 0.01
#: Bounds of the tilt, in standard deviations of the loss.
TILT = 30.0


def tail_windows(
    generator: ReturnGenerator, n: int, expected_shortfall: float,
    strategy: str | Strategy = "EW", conditions: Conditions | None = None, *,
    alpha: float = ALPHA, pool: int = 20, seed: int = 0,
) -> Windows:  # fmt: skip
    """Draw windows on which a strategy has a given expected shortfall.

    Of ``pool`` windows for each that is wanted, those with greater losses are taken more often, by
    weights exp(tilt x loss): of all weights with that shortfall, nearly those that differ least
    from equal ones. Windows can be taken more than once.

    Parameters
    ----------
    expected_shortfall : mean loss of the worst share ``alpha`` of windows, of the capital: 0.05 is
        a loss of 5 %
    conditions : as :meth:`ReturnGenerator.sample` takes them, one for all windows
    pool : windows drawn for each that is wanted

    Raises
    ------
    ConfigError
        For a number out of range.
    DataError
        If no weights of what was drawn have that shortfall, or hardly any windows would count.

    References
    ----------
    Meucci (2008), Fully flexible views: theory and practice, Risk 21(10).
    """
    target = number("expected_shortfall", expected_shortfall)
    if not 0 < number("alpha", alpha) < 1:
        raise ConfigError(f"alpha must be > 0 and < 1, was {alpha!r}")
    drawn = generator.sample_windows(integer("n", n, 1) * integer("pool", pool, 1), conditions,
                                     seed=seed)  # fmt: skip
    losses = 1 - trade(strategy, drawn.prices).values[:, -1]
    weights = tilted(losses, target, alpha)
    rng = np.random.default_rng([seed, 1])
    order = np.argsort(-losses)  # so that the worst windows have their share, but for one
    places = (np.arange(n) + rng.random()) / n  # each window as often as its weight says
    rows = np.minimum(np.searchsorted(np.cumsum(weights[order]), places), len(losses) - 1)
    return drawn.take(rng.permutation(order[rows]))


def tilted(losses: Floats, target: float, alpha: float = ALPHA) -> Floats:
    """Weights, 1 in all, by which losses float64[m] have the expected shortfall ``target``.

    Raises
    ------
    DataError
        If there are none, or fewer than one in a hundred losses would count.
    """
    order = np.argsort(-losses)
    falling = losses[order]
    unit = float(losses.std())
    if unit <= 0:
        raise DataError(f"expected_shortfall: all windows lose the same, {losses[0]:.4g}")
    scaled = (falling - falling.mean()) / unit

    def weights(tilt: float) -> Floats:
        raw = np.exp(tilt * scaled - np.max(tilt * scaled))
        return np.asarray(raw / raw.sum())

    def shortfall(tilt: float) -> float:
        return weighted_shortfall(falling, weights(tilt), alpha)

    low, high = shortfall(-TILT), shortfall(TILT)
    if not low < target < high:
        raise DataError(
            f"expected_shortfall: must be between {low:.4g} and {high:.4g} for what is drawn, was"
            f" {target:.4g}"
        )
    tilt = float(scipy.optimize.brentq(lambda t: shortfall(t) - target, -TILT, TILT, xtol=1e-10))
    found = weights(tilt)
    effective = 1 / float((found**2).sum())
    if effective < LEAST_EFFECTIVE * len(losses):
        raise DataError(
            f"expected_shortfall: for {target:.4g} only {effective:.0f} of {len(losses)} windows"
            f" would count; without weights it is {shortfall(0.0):.4g}"
        )
    by_window = np.empty_like(found)
    by_window[order] = found
    return by_window


def weighted_shortfall(falling: Floats, weights: Floats, alpha: float) -> float:
    """Mean of the greatest losses that have a share ``alpha`` of the weight.

    Parameters
    ----------
    falling : float64[m], losses, greatest first
    weights : float64[m], 1 in all
    """
    before = np.cumsum(weights) - weights
    counted = np.clip(alpha - before, 0, weights)
    return float(counted @ falling / counted.sum())
