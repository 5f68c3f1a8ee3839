"""How well a classifier tells windows of a generated tape from windows of a real one.

The classifier is small and looks at 50 messages at a time: gradient-boosted trees on a window's
means, deviations, quantiles and autocorrelations of what each message is and what the touch is
after it. 0.5 is a coin toss, 1 is certainty. The folds of the cross-validation are stretches of
neighbouring windows, so that no test window lies between training windows.

The paper's discriminator is a network on sequences of book changes; its weights and training are
not part of the definition, so that its figures cannot be compared with these.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketsim.metrics.distances import interval
from marketsim.metrics.floor import Windows
from marketsim.metrics.flow import CANCELS, EXECUTION, LIMIT, Floats, Flow, Ints

WINDOW_EVENTS = 50
#: Windows of a tape, at least and at most; of more, evenly spread ones are taken.
MIN_WINDOWS, MAX_WINDOWS = 20, 1_000
FOLDS = 5
#: Real windows that the floor is the median of.
FLOOR_WINDOWS = 3
#: Farther than this from the mid-price, a distance counts as this [ticks].
FAR_TICKS = 1_000

EVENT_FEATURES = (
    "log_gap",
    "limit",
    "cancel",
    "execution",
    "side",
    "distance",
    "log_size",
    "spread",
    "log_bid_lots",
    "log_ask_lots",
    "imbalance",
    "mid_change",
    "mid_moves",
)
STATISTICS = ("mean", "std", "q10", "q90", "autocorrelation")
FEATURES = tuple(f"{name}: {word}" for word in STATISTICS for name in EVENT_FEATURES)


def discriminate(
    generated: Flow, real: Flow, windows: Windows, seed: int, samples: int
) -> dict[str, Any]:
    """Cross-validated area under the ROC curve, with a 99 % interval and its real floor.

    Parameters
    ----------
    windows : windows of the real tape as long as the generated one.

    Returns
    -------
    dict
        JSON values. ``auc``, ``auc_low``, ``auc_high`` (windows resampled), ``n_generated`` and
        ``n_real`` windows, ``floor_auc`` (median area of up to three real windows against the rest
        of the real tape), ``features`` (the five that tell most by themselves, each with its own
        area), ``note``. What is not defined is None, and the note says why.
    """
    result: dict[str, Any] = dict.fromkeys(("auc", "auc_low", "auc_high", "floor_auc"), None)
    a, b = window_features(generated), window_features(real)
    result |= {"n_generated": len(a), "n_real": len(b), "features": [], "note": ""}
    try:
        import sklearn  # noqa: F401
    except ImportError:
        result["note"] = "not defined: needs scikit-learn (pip install 'marketsim-lob[stats]')"
        return result
    for name, rows in (("generated", a), ("real", b)):
        if len(rows) < MIN_WINDOWS:
            result["note"] = (
                f"not defined: the {name} tape has {len(rows)} windows of {WINDOW_EVENTS}"
                f" messages, needs {MIN_WINDOWS}"
            )
            return result
    rng = np.random.default_rng([seed, 1])
    result |= _measured(a, b, seed, rng, samples)
    result["features"] = telling_features(a, b)
    floors = []
    chosen = [windows.rows[i] for i in _evenly(len(windows.rows), FLOOR_WINDOWS)]
    for first, last in chosen:
        inside, outside = _split(real, first, last)
        if min(len(inside), len(outside)) >= MIN_WINDOWS:
            floors.append(area(*out_of_fold(inside, outside, seed)))
    if floors:
        result["floor_auc"] = float(np.median(floors))
    else:
        result["note"] = f"no floor: {windows.reason or 'a real window has too few messages'}"
    return result


def _measured(
    a: Floats, b: Floats, seed: int, rng: np.random.Generator, samples: int
) -> dict[str, float]:
    first, second = out_of_fold(a, b, seed)
    auc = area(first, second)
    drawn = np.array(
        [
            area(rng.choice(first, len(first)), rng.choice(second, len(second)))
            for _ in range(samples)
        ]
    )
    low, high = interval(auc, drawn)
    return {"auc": auc, "auc_low": low, "auc_high": high}


def event_features(flow: Flow) -> Floats:
    """What each message is and leaves behind, float64[n, 13]; NaN where a side is empty."""
    bid, ask = (flow.lots(side).astype(np.float64) for side in ("bid", "ask"))
    distance = np.clip(flow.side * (flow.mid_ticks - flow.price_ticks), -FAR_TICKS, FAR_TICKS)
    total = np.where(bid + ask > 0, bid + ask, np.nan)
    columns = {
        "log_gap": np.log10(np.diff(flow.time_ns, prepend=flow.time_ns[0]) + 1.0),
        "limit": flow.kind == LIMIT,
        "cancel": np.isin(flow.kind, CANCELS),
        "execution": flow.kind == EXECUTION,
        "side": flow.side,
        "distance": distance,
        "log_size": np.log1p(flow.size_lots),
        "spread": flow.spread_ticks,
        "log_bid_lots": np.log1p(bid),
        "log_ask_lots": np.log1p(ask),
        "imbalance": (bid - ask) / total,
        "mid_change": flow.mid_change_ticks,
        "mid_moves": np.where(np.isnan(flow.mid_change_ticks), np.nan, flow.mid_change_ticks != 0),
    }
    return np.column_stack([columns[name] for name in EVENT_FEATURES]).astype(np.float64)


def window_features(flow: Flow) -> Floats:
    """Statistics of windows side by side, float64[windows, 65]; what is not known is NaN."""
    number = flow.size // WINDOW_EVENTS
    chosen = _evenly(number, MAX_WINDOWS)
    rows = chosen[:, None] * WINDOW_EVENTS + np.arange(WINDOW_EVENTS)
    events = event_features(flow)[rows]  # (windows, events, features)
    lost = np.isnan(events).any(1)
    events = np.where(lost[:, None], 0.0, events)
    mean, deviation = events.mean(1), events.std(1)
    centred = events - mean[:, None]
    product = (centred[:, 1:] * centred[:, :-1]).mean(1)
    varies = deviation > 1e-12
    autocorrelation = np.divide(product, deviation**2, out=np.zeros(product.shape), where=varies)
    low, high = np.quantile(events, (0.1, 0.9), axis=1)
    statistics = [mean, deviation, low, high, autocorrelation]
    return np.concatenate([np.where(lost, np.nan, x) for x in statistics], axis=1)


def _evenly(number: int, most: int) -> Ints:
    """At most ``most`` of the numbers up to ``number``, evenly spread, no two the same."""
    if number <= most:
        return np.arange(number)
    return np.linspace(0, number - 1, most).round().astype(np.int64)


def _split(flow: Flow, first: int, last: int) -> tuple[Floats, Floats]:
    """Window features of a part of a tape, and of what lies before and after it."""
    parts = [(0, first), (first, last), (last, flow.size)]
    before, inside, after = (
        window_features(flow.part(start, end)) if end > start else np.empty((0, len(FEATURES)))
        for start, end in parts
    )
    return inside, np.concatenate([before, after])


def out_of_fold(a: Floats, b: Floats, seed: int) -> tuple[Floats, Floats]:
    """Score of each window by a classifier that saw neither it nor its neighbours.

    Returns
    -------
    first, second : float64[len(a)], float64[len(b)]
        Larger where a window looks more like one of ``a``.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    data = np.concatenate([a, b])
    label = np.repeat([1, 0], [len(a), len(b)])
    fold = np.concatenate([np.arange(len(x)) * FOLDS // len(x) for x in (a, b)])
    scores = np.empty(len(data))
    for number in range(FOLDS):
        test = fold == number
        model = HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=15,
            min_samples_leaf=5,
            early_stopping=False,
            random_state=seed,
        )
        with threadpool_limits(limits=1):
            model.fit(data[~test], label[~test])
            scores[test] = model.decision_function(data[test])
    return scores[: len(a)], scores[len(a) :]


def area(first: Floats, second: Floats) -> float:
    """Probability that one of ``first`` lies above one of ``second``; half of the ties."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([first, second]))[: len(first)]
    wins = ranks.sum() - len(first) * (len(first) + 1) / 2
    return float(wins / (len(first) * len(second)))


def telling_features(a: NDArray[Any], b: NDArray[Any]) -> list[dict[str, Any]]:
    """The five features that tell the tapes apart best by themselves, each with its area."""
    found = []
    for number, name in enumerate(FEATURES):
        columns = [x[:, number][np.isfinite(x[:, number])] for x in (a, b)]
        if all(len(column) for column in columns):
            found.append({"feature": name, "auc": area(columns[0], columns[1])})
    return sorted(found, key=lambda one: -abs(float(str(one["auc"])) - 0.5))[:5]
