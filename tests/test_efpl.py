"""EFPL: its terms equal a plain reading of them, its gradients lead to windows that fare alike."""

import numpy as np
import pytest
import torch

from marketsim.data.return_windows import as_windows
from marketsim.errors import ConfigError, DataError
from marketsim.generators.efpl import Weights, distances, efpl, targets
from marketsim.ledger import trade
from marketsim.strategies import STRATEGIES, TRAINING, strategy


def windows(n: int, deviation: float = 0.01, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (draw.standard_t(4, (n, 24, 2)) * deviation / np.sqrt(2)).astype(np.float32)


def prices(returns: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(100 * np.exp(np.cumsum(returns.astype(np.float64), axis=1)))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_terms_equal_a_plain_reading(name: str) -> None:
    real, fake = as_windows(windows(60)), windows(60, 0.02, seed=1)
    (target,) = targets(real, [strategy(name)], 60)
    ours = trade(name, real.prices).trading_values
    theirs = trade(name, prices(fake)).trading_values
    found = {key: float(value) for key, value in distances(target, theirs).items()}
    theirs = theirs.numpy()
    worst = 3  # of 60, number floor(0.05 x 60) from 0 on
    var = np.mean([
        abs(sorted(ours[:, t])[worst] - sorted(theirs[:, t])[worst]) for t in range(ours.shape[1])
    ])  # fmt: skip
    es = np.mean([
        abs(np.mean(sorted(ours[:, t])[: worst + 1]) - np.mean(sorted(theirs[:, t])[: worst + 1]))
        for t in range(ours.shape[1])
    ])  # fmt: skip
    ranks = (np.arange(60) + 0.5) / 60
    ends = np.abs(np.quantile(ours[:, -1], ranks) - np.sort(theirs[:, -1])).mean()
    falls = [
        np.array([max(max(row[: k + 1]) - row[k] for k in range(len(row))) for row in side])
        for side in (ours, theirs)
    ]
    drops = np.abs(np.quantile(falls[0], ranks) - np.sort(falls[1])).mean()
    expected = {"VaR": var, "ES": es, "MDD": drops, "PnL": ends}
    assert found == pytest.approx(expected, abs=1e-12)
    assert min(expected.values()) > 0
    assert target.unit == pytest.approx(ours[:, -1].std())


def test_gradients_lead_to_the_real_deviation() -> None:
    """Of windows that differ by their deviation alone, the loss finds the right one."""
    real = as_windows(windows(2000))
    ensemble = targets(real, [strategy(name) for name in TRAINING], 400)
    noise = torch.from_numpy(windows(4000, 1.0, seed=2).astype(np.float64))
    log_deviation = torch.tensor(np.log(0.03), requires_grad=True)
    optimiser = torch.optim.Adam([log_deviation], lr=0.1)
    for step in range(60):
        rows = slice(400 * (step % 10), 400 * (step % 10) + 400)
        path = (noise[rows] * log_deviation.exp()).cumsum(1)
        loss = torch.stack(list(efpl(ensemble, 100 * path.exp(), Weights()).values())).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(log_deviation.detach().exp()) == pytest.approx(0.01, rel=0.15)


def test_weights_scale_their_terms() -> None:
    ensemble = targets(as_windows(windows(50)), [strategy("EW")], 40)
    fake = prices(windows(40, 0.02, seed=3))
    plain, weighted = (efpl(ensemble, fake, w) for w in (Weights(), Weights(2.0, 0.0, 3.0, 0.5)))
    for name, factor in zip(("VaR", "ES", "MDD", "PnL"), (2.0, 0.0, 3.0, 0.5), strict=True):
        assert float(weighted[name]) == pytest.approx(factor * float(plain[name]))
    with pytest.raises(ConfigError, match="mdd must be >= 0, was -1"):
        Weights(mdd=-1)


def test_a_strategy_that_never_trades_is_refused() -> None:
    still = np.zeros((20, 24, 2), np.float32)
    still[:, 0] = np.linspace(0.001, 0.002, 40).reshape(20, 2)
    with pytest.raises(DataError, match="strategy MR earns the same on all 20"):
        targets(as_windows(still), [strategy("MR")], 20)
