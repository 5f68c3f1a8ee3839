"""Strategies and their trades by plain loops over one window, written from the definitions."""

import math
from typing import Any

import numpy as np

Path = list[float]  # prices of one asset


def mean(values: Path) -> float:
    total = values[0]
    for value in values[1:]:
        total += value
    return total / len(values)


def mr(p: Path, t: int) -> int:
    if t < 12:
        return 0
    m = mean(p[t - 12 : t])
    return 1 if p[t] < (1 - 0.01) * m else -1 if p[t] > (1 + 0.01) * m else 0


def crossing(now: tuple[float, float], before: tuple[float, float]) -> int:
    if now[0] > now[1] and before[0] <= before[1]:
        return 1
    return -1 if now[0] < now[1] and before[0] >= before[1] else 0


def tf(p: Path, t: int) -> int:
    if t < 13:
        return 0
    pairs = [(mean(p[s - 5 : s]), mean(p[s - 12 : s])) for s in (t, t - 1)]
    return crossing(*pairs)


def vt(p: Path, t: int) -> int:
    if t < 12:
        return 0
    r = [0.0 if s == 0 else p[s] / p[s - 1] - 1 for s in range(t - 12, t)]
    m = mean(r)
    squares = 0.0
    for value in r:
        squares += (value - m) * (value - m)
    volatility = math.sqrt(squares / 11) * math.sqrt(252 * 24)
    return 1 if volatility > 0.4 else -1 if volatility < 0.1 else 0


def rsi(p: Path, t: int) -> int:
    if t < 12:
        return 0
    gains = losses = 0.0
    for s in range(t - 11, t + 1):
        gains += max(p[s] - p[s - 1], 0.0)
        losses += max(p[s - 1] - p[s], 0.0)
    index = 50.0 if gains + losses == 0 else 100 * gains / (gains + losses)
    return 1 if index < 30 else -1 if index > 70 else 0


def sm(p: Path, t: int) -> int:
    if t < 13:
        return 0
    return crossing((p[t], mean(p[t - 12 : t])), (p[t - 1], mean(p[t - 13 : t - 1])))


def bo(p: Path, t: int) -> int:
    if t < 12:
        return 0
    return 1 if p[t] > max(p[t - 12 : t]) else -1 if p[t] < min(p[t - 12 : t]) else 0


RULES = {"MR": mr, "TF": tf, "VT": vt, "RSI": rsi, "SM": sm, "BO": bo}


def course(name: str, prices: np.ndarray, terms: Any) -> dict[str, Any]:
    """Wealth after each price (1 first), units, money traded and costs of a window [T, d]."""
    steps, assets = prices.shape
    paths = [prices[:, i].tolist() for i in range(assets)]
    cash, held = terms.capital, [0.0] * assets
    values, units, traded, costs = [1.0], [], [], []
    for t in range(steps):
        money = cost = 0.0
        for i, p in enumerate(paths):
            if t == steps - 1:
                signal = -1
            elif name == "EW":
                signal = 1 if t == 0 else 0
            else:
                signal = RULES[name](p, t)
            if signal == 0:
                continue
            each = p[t] * (terms.buying if signal > 0 else terms.selling)
            if signal < 0:
                change = -held[i]
            elif name == "EW":
                change = terms.capital / assets / each
            else:
                lots = math.trunc(min(terms.max_buy, cash) / each / terms.lot)
                change = max(lots, 1) * terms.lot
            cash -= change * each
            held[i] += change
            money += abs(change * p[t])
            cost += change * each - change * p[t]
        values.append(cash + sum(h * p[t] for h, p in zip(held, paths, strict=True)))
        units.append(list(held))
        traded.append(money)
        costs.append(cost)
    values[1:] = [value / terms.capital for value in values[1:]]
    return {
        "values": np.array(values), "units": np.array(units),
        "traded": np.array(traded) / terms.capital, "costs": np.array(costs) / terms.capital,
    }  # fmt: skip
