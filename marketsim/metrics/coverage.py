"""PCA coverage: how much of the real orders' hull the generated orders' hull covers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from marketsim.metrics.observations import Observations, every, observe
from marketsim.metrics.sample import Sample, real_windows
from marketsim.metrics.section import NotDefined, Progress, Row, Section, over_floor, silent
from marketsim.report import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Fewer orders have no hull worth the name; of more, so many are taken, evenly spaced.
MIN_ORDERS, MOST_ORDERS = 100, 100_000
LEVELS = 10
CORE = 0.99
#: Points of each tape in ``data``, for the picture.
SHOWN = 2_000

_CAPTION = (
    "area that the convex hulls of generated and real orders share, over the area of the real hull,"
    " in the plane of the first two principal components of the real orders; distance: 1 less the"
    " coverage; floor: median of the same distance for real windows of the generated tape's length"
    " against the other real windows. The hull of all points hangs on its extremes; the core leaves"
    " out the farthest 1 % of either tape's points (Mahalanobis distance of its own)."
)


@dataclass(frozen=True)
class Basis:
    """First two principal components of standardised columns.

    Attributes
    ----------
    mean, sd : float64[columns]
    axes : float64[columns, 2]
    explained : float64[2], shares of the variance.
    """

    mean: Floats
    sd: Floats
    axes: Floats
    explained: Floats

    @classmethod
    def of(cls, columns: Floats) -> "Basis":
        """Fit a basis; columns that never vary have no weight in it."""
        from scipy.linalg import eigh

        mean, sd = columns.mean(axis=0), columns.std(axis=0)
        sd = np.where(sd > 0, sd, 1.0)
        scaled = (columns - mean) / sd
        values, vectors = eigh(scaled.T @ scaled / len(columns))
        return cls(mean, sd, vectors[:, :-3:-1], values[:-3:-1] / values.sum())

    def project(self, columns: Floats) -> Floats:
        """Points in the plane, float64[n, 2]."""
        points: Floats = ((columns - self.mean) / self.sd) @ self.axes
        return points


def hull(points: Floats) -> Floats:
    """Corners of the convex hull, counter-clockwise, float64[n, 2].

    Raises
    ------
    NotDefined
        The points lie on a line.
    """
    from scipy.spatial import ConvexHull, QhullError

    try:
        corners: Floats = points[ConvexHull(points).vertices]
    except (QhullError, ValueError) as error:
        raise NotDefined("the orders' points lie on a line, and have no hull") from error
    return corners


def area(corners: Floats) -> float:
    """Area of a polygon, by the shoelace formula; positive when counter-clockwise."""
    x, y = corners.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def intersect(one: Floats, other: Floats) -> Floats:
    """Corners of what two convex polygons share, float64[n, 2]; no rows where they share nothing.

    Clips ``one`` by each edge of ``other``, both counter-clockwise.

    References
    ----------
    Sutherland & Hodgman (1974), Reentrant polygon clipping, Communications of the ACM 17(1).
    """
    for start, end in zip(other, np.roll(other, -1, axis=0), strict=True):
        if not len(one):
            break
        edge = end - start
        left = edge[0] * (one[:, 1] - start[1]) - edge[1] * (one[:, 0] - start[0])
        after, left_after = np.roll(one, -1, axis=0), np.roll(left, -1)
        kept = []
        for i in range(len(one)):
            if left[i] >= 0:
                kept.append(one[i])
            if left[i] * left_after[i] < 0:
                kept.append(one[i] + (after[i] - one[i]) * left[i] / (left[i] - left_after[i]))
        one = np.array(kept).reshape(-1, 2)
    return one


def cover(generated: Floats, real: Floats) -> float:
    """Share of the real points' hull that the generated points' hull covers."""
    real_hull = hull(real)
    shared = intersect(hull(generated), real_hull)
    return area(shared) / area(real_hull) if len(shared) > 2 else 0.0


def core(points: Floats) -> Floats:
    """The points without the farthest 1 %, by Mahalanobis distance.

    Raises
    ------
    NotDefined
        They lie on a line.
    """
    centred = points - points.mean(axis=0)
    covariance = np.cov(points.T)
    if np.linalg.matrix_rank(covariance) < 2:
        raise NotDefined("the orders' points lie on a line, and have no hull")
    distance = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(covariance), centred)
    inner: Floats = points[distance <= np.quantile(distance, CORE)]
    return inner


_KINDS = {"all orders": lambda points: points, f"core of {CORE:.0%} of the orders": core}


def coverage(generated: Sample, real: Sample, tell: Progress = silent) -> Section:
    """Compare where orders lie in the plane of the real orders' principal components.

    An order is its kind, side, size, time since the one before, distance from the mid-price, and
    the book after it: size and distance from the mid-price of each level that both tapes have, at
    most ten a side. Distances are signed logarithms of basis points, sizes and times logarithms,
    all standardised by the real tape: the mean price has no part in it.
    """
    seen: dict[str, Observations] = {}
    reasons = []
    tell("principal components", 0.0)
    for name, sample in (("generated", generated), ("real", real)):
        try:
            seen[name] = observe(sample, MIN_ORDERS)
        except NotDefined as reason:
            reasons.append(f"{name} not defined: {reason}")
    if reasons:
        return _undefined(*reasons)
    levels = min(LEVELS, *(s.tape.book.bid_size_lots.shape[1] for s in (generated, real)))
    real_columns = _columns(real, seen["real"], levels)
    basis = Basis.of(real_columns)
    points = {
        "generated": basis.project(_columns(generated, seen["generated"], levels)),
        "real": basis.project(real_columns),
    }
    try:
        shares = {kind: cover(*map(part, points.values())) for kind, part in _KINDS.items()}
    except NotDefined as reason:
        return _undefined(str(reason))
    tell("floor of the coverage", 0.5)
    floors, note = _floors(generated, real, levels)
    rows = tuple(
        Row(
            "coverage", f"hull coverage, {kind}", share, 1.0, 1 - share, floors.get(kind),
            over_floor(1 - share, floors.get(kind)), (note,) if note else (),
        )
        for kind, share in shares.items()
    )  # fmt: skip
    summary = {
        "hull_coverage": shares["all orders"],
        "hull_coverage_core": rows[1].generated,
        "explained_variance": basis.explained.tolist(),
    }
    data = _data(points, basis)

    def draw() -> "Figure":
        from marketsim.metrics.score_plots import draw_coverage

        return draw_coverage(data, tuple(shares.values()))

    return Section("coverage", "PCA coverage", rows, summary, data, {"coverage": draw}, _CAPTION)


def _data(points: dict[str, Floats], basis: Basis) -> dict[str, Any]:
    """Points and hulls for the picture; JSON values."""
    shown: dict[str, Any] = {"explained": basis.explained.tolist()}
    for name, plane in points.items():
        shown[name] = {
            "points": plane[every(len(plane), SHOWN)].round(4).tolist(),
            "hull": hull(plane).tolist(),
            "core": hull(core(plane)).tolist(),
        }
    return shown


def _undefined(*notes: str) -> Section:
    rows = tuple(
        Row("coverage", f"hull coverage, {kind}", None, None, notes=notes) for kind in _KINDS
    )
    return Section("coverage", "PCA coverage", rows, {"notes": list(notes)}, caption=_CAPTION)


def _floors(generated: Sample, real: Sample, levels: int) -> tuple[dict[str, float], str]:
    """Median distance of a real window to the other real windows, by kind; or why there is none."""
    try:
        parts = []
        for window in real_windows(real, generated.span_ns):
            try:
                parts.append(_columns(window, observe(window, MIN_ORDERS), levels))
            except NotDefined:
                continue
        if len(parts) < 2:
            raise NotDefined("no floor: not defined in windows of this length")
        distances: dict[str, list[float]] = {kind: [] for kind in _KINDS}
        for i, part in enumerate(parts):
            rest = np.concatenate(parts[:i] + parts[i + 1 :])
            basis = Basis.of(rest)
            plane = basis.project(part), basis.project(rest)
            for kind, choose in _KINDS.items():
                distances[kind].append(1 - cover(choose(plane[0]), choose(plane[1])))
    except NotDefined as reason:
        return {}, str(reason)
    return {kind: float(np.median(found)) for kind, found in distances.items()}, ""


def _columns(sample: Sample, seen: Observations, levels: int) -> Floats:
    """What is known of each order, float64[n, 7 + 4 levels], prices and sizes on log scales."""
    chosen = every(len(seen), MOST_ORDERS)
    mid, row = seen.mid[chosen], seen.row[chosen]
    tick = float(sample.tape.meta.get("tick_size") or 1)
    lot = float(sample.tape.meta.get("lot_size") or 1)
    parts: list[Floats] = [
        seen.order[chosen].astype(np.float64),
        _log_bps(seen.price[chosen, :1], mid),
    ]
    book = sample.tape.book
    sides: Sequence[tuple[Any, Any]] = (
        (book.bid_price_ticks, book.bid_size_lots),
        (book.ask_price_ticks, book.ask_size_lots),
    )
    for price, size in sides:
        lots = size[row, :levels]
        away = _log_bps(tick * price[row, :levels], mid)
        # an empty level is as far away as the last one that there is
        last = np.maximum.accumulate(np.where(lots > 0, np.arange(lots.shape[1]), 0), axis=1)
        parts += [np.take_along_axis(away, last, axis=1), np.log1p(lot * lots)]
    return np.concatenate(parts, axis=1)


def _log_bps(price: Floats, mid: Floats) -> Floats:
    """Distance from the mid-price [bps], its sign kept and its size on a log scale (asinh)."""
    away = np.abs(mid)[:, None]
    nothing = np.zeros(price.shape)
    fraction: Floats = np.divide(price - mid[:, None], away, out=nothing, where=away > 0)
    return np.arcsinh(1e4 * fraction)
