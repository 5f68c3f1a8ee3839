"""What a comparison of returns says, in sentences made of its numbers."""

from collections.abc import Iterator, Mapping
from typing import Any

from marketsim.comparison.returns_measures import KINDS, RANKED, by_split
from marketsim.comparison.returns_rows import (
    ABLATION,
    CONTEST,
    FORECAST,
    PAPER_VAR_CHANGE,
    ROWS,
    VAR_BASE,
)

Rows = Mapping[str, Mapping[str, Any]]
_LOSSES = {"elbo": "ELBO", "one": "EFPL of one strategy", "all": "EFPL of all"}


def statements(rows: Rows) -> list[str]:
    """Sentences on the ranks, the base row's VaR gap, the ablation, the contest and the zeros."""
    found = []
    for kind in KINDS:
        found += [*_best(rows, kind), *_var(rows, kind)]
    found += [*_ablation(rows), *_contest(rows, CONTEST, "The real contest")]
    found += [*_contest(rows, FORECAST, "A day ahead"), *_zeros(rows), *_tasks(rows)]
    return found


def _best(rows: Rows, kind: str) -> Iterator[str]:
    """Who has the lowest mean rank, and where the CMS-VAE is if it is not first."""
    for ranking, who in (("neural", "neural generators"), ("all", "all generators")):
        ranks = {name: row["ranks"][kind][ranking] for name, row in rows.items()
                 if ranking in row["ranks"].get(kind, {})}  # fmt: skip
        if len(ranks) < 2:
            continue
        order = sorted(ranks, key=lambda name: ranks[name])
        first = ", ".join(f"{name} ({ranks[name]:.2f})" for name in order[:3])
        said = f"Mean rank on the {kind} strategies among {who}: {first} lead"
        for name in ("cms-vae", "cms-vae-unconditional"):
            if name in order[3:]:
                place = 1 + sum(rank < ranks[name] for rank in ranks.values())
                said += f"; {name} is number {place} of {len(order)}"
                said += f" ({ranks[name]:.2f})"
        yield f"{said}."


def _var(rows: Rows, kind: str) -> Iterator[str]:
    for name in ("cms-vae", "cms-vae-unconditional"):
        change = rows.get(name, {}).get("var_change_percent", {}).get(kind)
        if change is not None:
            verdict = "reaches" if change <= PAPER_VAR_CHANGE else "does not reach"
            yield (
                f"{name}'s VaR gap on the {kind} strategies is {change:+.1f} % against"
                f" {VAR_BASE}'s ({_var_by_split(rows, name, kind)}): it {verdict} the paper's"
                f" {PAPER_VAR_CHANGE} %."
            )


def _var_by_split(rows: Rows, name: str, kind: str) -> str:
    """The same, on each split: ``-82.9 % on split-0, +16.4 % on split-1``."""
    ours, base = (by_split(rows[row]["figures"][f"{kind} VaR"]) for row in (name, VAR_BASE))
    return ", ".join(
        f"{100 * (value / base[split] - 1):+.1f} % on {split}"
        for split, value in ours.items()
        if base.get(split)
    )


def _ablation(rows: Rows) -> Iterator[str]:
    """Dilated against plain for each loss, and EFPL against ELBO for each convolution."""
    pairs = [
        (ABLATION["dilated", loss], ABLATION["plain", loss], f"Dilated against plain, {words}")
        for loss, words in _LOSSES.items()
    ] + [
        (ABLATION[kind, loss], ABLATION[kind, "elbo"], f"{_LOSSES[loss]} against ELBO, {kind}")
        for kind in ("plain", "dilated")
        for loss in ("one", "all")
    ]
    for first, second, words in pairs:
        lower = [_lower(rows, first, second, kind) for kind in KINDS]
        if all(found is not None for found in lower):
            told = ", ".join(
                f"{count} of {len(RANKED)} gaps lower on the {kind} strategies"
                for kind, count in zip(KINDS, lower, strict=True)
            )
            yield f"{words}: {told}."


def _lower(rows: Rows, first: str, second: str, kind: str) -> int | None:
    """How many of the ranked gaps are lower in the first row; None where one is not known."""
    ours, theirs = ([_mean(rows, name, f"{kind} {gap}") for gap in RANKED]
                    for name in (first, second))  # fmt: skip
    if None in ours or None in theirs:
        return None
    return sum(a < b for a, b in zip(ours, theirs, strict=True))  # type: ignore[operator]


def _mean(rows: Rows, name: str, figure: str) -> float | None:
    found = rows.get(name, {}).get("figures", {}).get(figure)
    return None if found is None else float(found["mean"])


def _contest(rows: Rows, pair: tuple[str, str], words: str) -> Iterator[str]:
    """A network and a bootstrap that know the same."""
    ours, theirs = pair
    for kind in KINDS:
        lower = _lower(rows, ours, theirs, kind)
        if lower is None:
            continue
        told = ", ".join(
            f"{gap} {_bps(rows, ours, kind, gap)} against {_bps(rows, theirs, kind, gap)}"
            for gap in RANKED
        )
        yield (
            f"{words} on the {kind} strategies: {ours} has {lower} of {len(RANKED)} gaps"
            f" lower than {theirs} ({told} bps of capital)."
        )


def _bps(rows: Rows, name: str, kind: str, gap: str) -> str:
    mean = _mean(rows, name, f"{kind} {gap}")
    return "" if mean is None else f"{1e4 * mean:.1f}"


def _zeros(rows: Rows) -> Iterator[str]:
    """How many generators windows without movement would beat, by each kind of gap."""
    for kind in KINDS:
        counts = {}
        for gap in ("MDD", "PnL", "W1 MDD", "W1 PnL"):
            still = _mean(rows, "zeros", f"{kind} {gap}")
            others = [_mean(rows, name, f"{kind} {gap}") for name in rows
                      if ROWS[name].group in ("bootstrap", "classical", "neural")]  # fmt: skip
            known = [value for value in others if value is not None]
            if still is None or not known:
                return
            counts[gap] = sum(still < value for value in known)
        told = ", ".join(f"{count} by {gap}" for gap, count in counts.items())
        yield (
            f"Windows without movement would beat, of {len(known)} generators on the {kind}"
            f" strategies, {told}."
        )


def _tasks(rows: Rows) -> Iterator[str]:
    """Who is best at the tasks on bars."""
    for task, words, scale, unit in (
        ("IC", "The highest IC of forecasts on bars", 100, " %"),
        ("arbitrage Sharpe, fee", "The highest Sharpe ratio of arbitrage after fees", 1, ""),
    ):
        known = {name: row["tasks"][task]["mean"] for name, row in rows.items()
                 if task in row["tasks"]}  # fmt: skip
        if len(known) > 1:
            order = sorted(known, key=lambda name: -known[name])
            told = ", ".join(f"{name} {scale * known[name]:.2f}{unit}" for name in order[:3])
            above = sum(value > 0 for value in known.values())
            yield f"{words}: {told}; {above} of {len(known)} are above 0."
