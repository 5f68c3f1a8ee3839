"""The command ``marketsim compare``: of order flow, or of returns."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from marketsim.cli_support import Interrupted, parse_pairs, parse_values

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
Place = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
Names = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")]
Window = Annotated[str, tyro.conf.arg(metavar="FROM-TO")]
Minutes = Annotated[float | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Files = Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE ...", help_behavior_hint="")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Word = Annotated[str | None, tyro.conf.arg(metavar="A,B,C", help_behavior_hint="")]
Pairs = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="NAME=N")]


def compare_order_flow(
    *,
    data: Annotated[str, tyro.conf.arg(metavar="TAPE")],
    out: Folder,
    models: Place = None,
    rows: Names = (),
    metrics: Names = (),
    seeds: int = 5,
    train: Window = "09:30-13:30",
    valid: Window = "13:30-14:30",
    test: Window = "14:30-16:00",
    warm_up: str = "15min",
    minutes: Minutes = None,
    train_steps: Pairs = (),
    max_seconds_a_row: float = 3600.0,
    threads: int = 1,
    device: str = "cpu",
    quiet: bool = False,
) -> None:
    """Compare generators of order flow on one recorded day; what was interrupted goes on.

    Args:
        data: A LOBSTER zip or message file, the folder of a saved tape, or `synthetic`.
        out: Folder for results, generated tapes, tables and pictures.
        models: Folder of trained models, named trades-causal, cgan, ...; what is missing is
                trained into it (default: models in --out).
        rows: Which rows (default: all): iabs-rmsc03, iabs-rmsc04, cgan, poisson, bootstrap,
                trades-encoder, trades-causal, trades-tokens. Recorded windows are always there.
        metrics: Which sections of the realism report (default: lob, stylized, predictive,
                coverage).
        seeds: Markets of each row, and recorded windows of the floor.
        train: What models learn from.
        valid: What their training is stopped by.
        test: What is generated and compared.
        warm_up: Recorded flow before the test window from which generated markets go on.
        minutes: Shorten the test window.
        train_steps: Training budget of a model, such as trades-tokens=3000.
        max_seconds_a_row: Markets that are not done by then are compared over what there is.
        threads: Of training on the CPU.
        device: Of training.
        quiet: Print the results' folder and nothing else.
    """
    from marketsim import console
    from marketsim.clock import parse_span
    from marketsim.comparison.plan import METRICS, Plan, Span
    from marketsim.comparison.report import headline, write_comparison
    from marketsim.comparison.rows import check_budgets, check_rows
    from marketsim.comparison.run import Comparison
    from marketsim.comparison.tables import content_of, grids
    from marketsim.evaluation import check_metrics

    window = Span.parse(test, "test")
    plan = Plan(
        data,
        Span.parse(train, "train"),
        Span.parse(valid, "valid"),
        window if minutes is None else window.first(minutes),
        parse_span(warm_up, "warm-up"),
        seeds,
        tuple(check_metrics(metrics or METRICS)),
        max_seconds_a_row,
        check_budgets(parse_values(parse_pairs(train_steps, "--train-steps"), "--train-steps")),
        threads,
        device,
    )
    chosen = check_rows(rows or None)
    try:
        with console.steps("compare", quiet=quiet) as tell:
            comparison = Comparison(plan, chosen, out, models or out / "models", tell)
            comparison.run()
            content = content_of(comparison)
            write_comparison(content, out)
    except KeyboardInterrupt:
        raise _interrupted(out) from None
    if quiet:
        print(out)
        return
    print(headline(content))
    console.print_grids(grids(content))
    print(f"\nWritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def compare_returns(
    *,
    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE ...")],
    out: Folder,
    bars: Files = (),
    rows: Names = (),
    measures: Names = (),
    seeds: int = 3,
    splits: int = 2,
    folds: int = 1,
    workers: Count = None,
    train_steps: Pairs = (),
    window: int = 24,
    stride: int = 1,
    assets: Word = None,
    price: Literal["close", "mid"] = "close",
    quiet: bool = False,
) -> None:
    """Compare generators of returns on time-ordered splits; what was interrupted goes on.

    Args:
        data: An archive of windows (.npz), or CSV or Parquet files of bars.
        out: Folder for results, trained models, tables and pictures.
        bars: Files of hourly bars of several assets for the tasks of forecasting and arbitrage,
                which are left out without.
        rows: Which rows, or groups of them (default: all). Groups: reference, bootstrap, classical,
                neural, ablation, forecast. Rows: zeros, past, recent, block-bootstrap, gaussian,
                garch-copula, timevae, cosci-gan, quant-gan, tail-gan, diffusion-ts, fourier-flow,
                cms-vae, cms-vae-unconditional, cms-vae-plain-elbo, ...
        measures: Which measures (default: all): risk, returns, scores, memory.
        seeds: Models of each row on each split.
        splits: Test parts of 15 % of the windows, the last one first; training is what lies before.
        folds: Walks forward over --bars, the last one first: 500 days of training, 30 of test.
        workers: Processes (default: one a core). Results do not depend on it.
        train_steps: Training budget of a row, or of a generator, such as timevae=200.
        window: Returns in a window that is made of bars.
        stride: Bars from the start of one window to the next.
        assets: Names of the assets to take (default: all of them).
        price: Of bars: close, or mid of open and close.
        quiet: Print the results' folder and nothing else.
    """
    from marketsim import console
    from marketsim.comparison.compare_returns import compare_returns as run
    from marketsim.comparison.returns_measures import MEASURES
    from marketsim.comparison.returns_report import headline
    from marketsim.comparison.returns_tables import grids

    names = None if assets is None else tuple(name.strip() for name in assets.split(","))
    budgets = parse_values(parse_pairs(train_steps, "--train-steps"), "--train-steps")
    try:
        with console.steps("compare", quiet=quiet) as tell:
            content = run(
                data, out, bars=bars, rows=rows, measures=measures or MEASURES, seeds=seeds,
                splits=splits, folds=folds, workers=workers, train_steps=budgets, window=window,
                stride=stride, assets=names, price=price, progress=tell,
            )  # fmt: skip
    except KeyboardInterrupt:
        raise _interrupted(out) from None
    if quiet:
        print(out)
        return
    print(headline(content))
    console.print_grids(grids(content))
    print("\n".join(content["statements"]))
    print(f"\nWritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def compare(
    what: Annotated[None, tyro.conf.subcommand("order-flow", constructor=compare_order_flow)]
    | Annotated[None, tyro.conf.subcommand("returns", constructor=compare_returns)],
) -> None:
    """Compare generators side by side, of order flow or of returns."""


def _interrupted(out: Path) -> Interrupted:
    done = len(list((out / "runs").glob("*.json")))
    return Interrupted(f"{done} parts are in {out}; the same command goes on from there")
