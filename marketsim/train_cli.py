"""The command ``marketsim train``."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from marketsim.cli_support import Interrupted, parse_pairs, parse_values
from marketsim.errors import ConfigError

Pieces = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH[@FROM-TO]")
]
Sets = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="KEY=VALUE")
]
Time = Annotated[str | None, tyro.conf.arg(metavar="HH:MM[:SS]", help_behavior_hint="")]
Model = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]]
Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Number = Annotated[float | None, tyro.conf.arg(metavar="X", help_behavior_hint="")]
Word = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Events = Annotated[str | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]
YesNo = Annotated[bool | None, tyro.conf.arg(help_behavior_hint="")]


def train(
    model: Model,
    /,
    *,
    data: Pieces,
    out: Folder,
    valid: Pieces = (),
    start: Annotated[Time, tyro.conf.arg(name="from")] = None,
    until: Time = None,
    parameters: Sets = (),
    seed: int = 0,
    steps: Count = None,
    batch: Count = None,
    learning_rate: Number = None,
    warm_up: Count = None,
    weight_decay: Number = None,
    momentum: Number = None,
    average: Number = None,
    evaluate_every: Count = None,
    patience: Count = None,
    checkpoint_every_s: Number = None,
    device: Word = None,
    threads: Count = None,
    bfloat16: YesNo = None,
    tensorboard: Events = None,
    window: Count = None,
    stride: Count = None,
    assets: Word = None,
    price: Word = None,
    regimes: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Train a generator of order flow, or of returns; the same command goes on where it stopped.

    Args:
        model: Of order flow: trades, cgan, poisson, bootstrap. Of returns: bootstrap-returns,
                block-bootstrap, garch-copula, gaussian, timevae, fourier-flow, quant-gan,
                cosci-gan, tail-gan, diffusion-ts.
        data: A LOBSTER zip or CSV, the folder of a saved tape, or `synthetic`; several times for
                several tapes. PATH@09:30-13:30 is a part of one. For returns: CSV or Parquet files
                of bars, or an archive of windows (.npz).
        out: Folder for the model, its checkpoint and training.json.
        valid: Held-out data (default: the last 20 % of the time of each tape of --data).
        start: Take all tapes from this time of day where they do not say.
        until: Take all tapes of --data to this time of day where they do not say.
        parameters: Set a parameter of the model, such as architecture=tokens or layers=4.
        seed: Of first weights and batches.
        steps: Updates at most (default 3000; cgan, the encoder and networks of returns have
                settings of their own).
        batch: Windows an update (default 16).
        learning_rate: Its peak (default 0.0015).
        warm_up: Steps in which it rises (default 100).
        weight_decay: Of matrices (default 0.1).
        momentum: Decay of the running mean of gradients (default 0.9).
        average: Decay of the running mean of the weights, which is what is kept (default 0.999).
        evaluate_every: Steps between two looks at the held-out data (default 200).
        patience: Looks without a better one after which it stops, 0: never (default 5).
        checkpoint_every_s: Seconds that a kill can lose (default 60).
        device: cpu, cuda (default cpu).
        threads: Of the CPU (default 1).
        bfloat16: Whether matrix products are in bfloat16 (default: where that is fast).
        tensorboard: Folder for TensorBoard's event files, which needs that package.
        window: Returns in a window that is made of bars (default 24).
        stride: Bars from the start of one window to the next (default 1).
        assets: Names of the assets to take, A,B,C (default: all of them).
        price: Of bars: close, or mid of open and close (default close).
        regimes: Give a model of returns labels of the windows: 0 bull, 1 bear, 2 crash.
        force: Replace another model in the folder.
        quiet: Print the model's folder and nothing else.
    """
    given = {
        "steps": steps, "batch": batch, "learning_rate": learning_rate, "warm_up": warm_up,
        "weight_decay": weight_decay, "momentum": momentum, "average": average,
        "evaluate_every": evaluate_every, "patience": patience,
        "checkpoint_every_s": checkpoint_every_s, "device": device, "threads": threads,
        "bfloat16": bfloat16, "tensorboard": tensorboard,
    }  # fmt: skip
    from marketsim.generators.base import RETURNS

    settings = {name: value for name, value in given.items() if value is not None}
    of_windows: dict[str, Any] = {
        "window": window,
        "stride": stride,
        "assets": assets,
        "price": price,
    }
    of_windows = {name: value for name, value in of_windows.items() if value is not None}
    of_windows |= {"regimes": True} if regimes else {}
    if model in RETURNS:
        of_tapes = {"valid": valid or None, "from": start, "until": until}
        _refuse(of_tapes, f"model {model!r} learns from returns, and takes no such setting")
        of_windows["settings"] = settings
        _train_returns(model, data, of_windows, parameters, out, seed, force, quiet)
        return
    _refuse(of_windows, f"model {model!r} learns from tapes, and takes no such setting")
    from marketsim import console
    from marketsim.data.pieces import Piece
    from marketsim.training_run import TrainingJob, train_model

    job = TrainingJob(
        model,
        tuple(Piece.parse(text, start, until) for text in data),
        parse_values(parse_pairs(parameters, "--set"), "--set"),
        tuple(Piece.parse(text) for text in valid),
        settings,
        seed,
    )
    with _going_on(out), console.steps(f"train {model}", quiet=quiet) as tell:
        progress = None if tell is None else lambda share, line: tell(line, share)
        report = train_model(job, out, force=force, progress=progress)
    if quiet:
        print(out)
        return
    _tell(report, out)


@contextlib.contextmanager
def _going_on(out: Path) -> Iterator[None]:
    """Say of an interrupted training how to go on with it."""
    from marketsim.training_run import CHECKPOINT

    try:
        yield
    except KeyboardInterrupt:
        if (out / CHECKPOINT).exists():
            raise Interrupted(
                f"the training is kept in {out / CHECKPOINT}; the same command goes on from there"
            ) from None
        raise Interrupted("nothing was learned yet; the same command begins anew") from None


def _refuse(given: Mapping[str, Any], why: str) -> None:
    """Raise :class:`ConfigError` for the first of options that were given and have no meaning."""
    for name, value in given.items():
        if value is not None:
            raise ConfigError(f"{name}: {why}")


def _train_returns(
    model: str,
    data: Sequence[str],
    of_windows: Mapping[str, Any],
    parameters: Sequence[str],
    out: Path,
    seed: int,
    force: bool,
    quiet: bool,
) -> None:
    from marketsim import console
    from marketsim.returns_run import ReturnsJob, train_returns

    keys = dict(of_windows)
    if any(path.endswith(".npz") for path in data):
        made = {
            name: value for name, value in keys.items() if name in ("window", "stride", "price")
        }
        _refuse(made, "windows of an archive are made already, and take no such setting")
    if "assets" in keys:
        keys["assets"] = tuple(name.strip() for name in keys["assets"].split(","))
    values = parse_values(parse_pairs(parameters, "--set"), "--set")
    job = ReturnsJob(model, tuple(data), values, seed=seed, **keys)
    with _going_on(out), console.steps(f"train {model}", quiet=quiet) as tell:
        progress = None if tell is None else lambda share, line: tell(line, share)
        report = train_returns(job, out, force=force, progress=progress)
    if quiet:
        print(out)
        return
    facts = report["windows"]
    span = f", {facts['from'][:10]} to {facts['to'][:10]}" if facts["from"] else ""
    print(
        f"data: {', '.join(facts['symbols'])}{span}, {facts['windows']:,} windows of"
        f" {facts['steps']} returns, {facts['left_out']:,} with gaps left out"
    )
    result = report["result"]
    if "steps" in result:
        print(f"{result['steps']:,} steps, {result['seconds']:,.0f} s")
    print(f"\nWritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _tell(report: dict[str, Any], out: Path) -> None:
    """What was learned from, and how well."""
    for what in ("data", "held_out"):
        for part in report[what]:
            span = f"{part['from'][:8]} to {part['to'][:8]}"
            print(f"{what.replace('_', ' ')}: {part['symbol']} {span}, {part['orders']:,} orders")
    result = report["result"]
    if result.get("held_out"):
        losses = ", ".join(f"{name} {value:.3f}" for name, value in result["held_out"].items())
        total = sum(result["held_out"].values())
        print(f"held-out loss at step {result['best_step']}: {total:.3f} ({losses})")
    if "steps" in result:
        print(f"{result['steps']:,} steps, {result['seconds']:,.0f} s")
    print(f"\nWritten to {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
