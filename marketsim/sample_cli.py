"""The command ``marketsim sample``."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from marketsim.cli_support import Interrupted, parse_pairs, parse_values
from marketsim.errors import ConfigError, DataError

Model = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="[MODEL]")]]
Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Time = Annotated[str | None, tyro.conf.arg(metavar="HH:MM[:SS]", help_behavior_hint="")]
Number = Annotated[float | None, tyro.conf.arg(metavar="X", help_behavior_hint="")]
Word = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Recorded = Annotated[str | None, tyro.conf.arg(metavar="TAPE[@FROM-TO]", help_behavior_hint="")]
Sets = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="KEY=VALUE")
]


def sample(
    model: Model = "goog",
    /,
    *,
    out: Folder,
    warm_up: Recorded = None,
    n: Count = None,
    until: Time = None,
    seed: int = 0,
    parameters: Sets = (),
    device: Word = None,
    with_warm_up: bool = False,
    regime: Word = None,
    steps: Count = None,
    expected_shortfall: Number = None,
    strategy: Word = None,
    quiet: bool = False,
) -> None:
    """Write synthetic order flow: a tape, TRADES-LOB's 50 columns, LOBSTER files; or returns.

    Args:
        model: Folder of a trained generator, or the name of a shipped one.
        warm_up: Recorded flow that the market goes on from: a LOBSTER zip or message file, the
                folder of a saved tape, or `synthetic`; without TO its first 15 minutes (default
                goog-warm-up).
        out: Folder to write; of a generator of returns, a file: NAME.npz or NAME.parquet.
        n: How many orders (default 10000), or windows of returns (default 1000).
        until: Until this time of day, instead.
        seed: The same seed gives the same data.
        parameters: Set a parameter of the model, such as steps=20.
        device: Where the model computes: cpu, cuda (default cpu).
        with_warm_up: Write the recorded flow before the generated one too.
        regime: Of a generator of returns that was taught labels: bull, bear, crash or a number.
        steps: Of a generator of returns: write paths of so many, of windows that follow on from
                each other (default: windows as it learned them).
        expected_shortfall: Of a generator of returns: draw windows of which the worst 5 % lose so
                much of a strategy's capital in the mean, such as 0.05.
        strategy: Whose shortfall that is: EW, MR, TF, VT, RSI, SM, BO (default EW).
        quiet: Print the folder and nothing else.
    """
    from marketsim.generators import name_of
    from marketsim.generators.base import RETURNS

    sampling = parse_values(parse_pairs(parameters, "--set"), "--set")
    if name_of(model) in RETURNS:
        of_flow: dict[str, Any] = {"warm-up": warm_up, "until": until, "device": device}
        of_flow["with-warm-up"] = with_warm_up or None
        for name, value in of_flow.items():
            if value is not None:
                raise ConfigError(f"--{name}: {model} is a generator of returns, and takes none")
        _sample_returns(
            model, out, 1000 if n is None else n, seed, regime, steps, expected_shortfall, strategy,
            sampling, quiet,
        )  # fmt: skip
        return
    of_returns = {"regime": regime, "steps": steps, "expected-shortfall": expected_shortfall}
    for name, value in {**of_returns, "strategy": strategy}.items():
        if value is not None:
            raise ConfigError(f"--{name}: {model} is a generator of order flow, and takes none")
    from marketsim import console
    from marketsim.clock import parse_time
    from marketsim.data.pieces import Piece
    from marketsim.sampling import sample_flow

    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"--out {out}: exists already; give another place")
    with console.steps("sample", quiet=quiet) as tell:
        flow = sample_flow(
            model, Piece.parse(warm_up or "goog-warm-up"), n=n, seed=seed, device=device or "cpu",
            with_warm_up=with_warm_up, sampling=sampling, progress=tell,
            until_ns=None if until is None else parse_time(until, "--until"),
        )  # fmt: skip
    flow.save(out)
    about = flow.about
    if not flow.whole:
        raise Interrupted(f"{about['orders']:,} orders until {about['generated_to']} are in {out}")
    if quiet:
        print(out)
        return
    console.print_tape(flow.tape)
    world = about["world"]
    print(
        f"Rejected draws {100 * world['reject_rate']:.2f} %, fallbacks {world['fallbacks']:,},"
        f" {world['model_s']:.1f} s in the model"
    )
    written = ", ".join(sorted(path.name for path in out.iterdir()))
    print(f"\nWritten to {out}: {written}")


def _sample_returns(
    model: str,
    out: Path,
    n: int,
    seed: int,
    regime: str | None,
    steps: int | None,
    expected_shortfall: float | None,
    strategy: str | None,
    sampling: dict[str, Any],
    quiet: bool,
) -> None:
    from marketsim.data.regimes import label_of
    from marketsim.returns_run import sample_returns

    label = None if regime is None else label_of(regime)
    windows = sample_returns(
        model, out, n=n, seed=seed, conditions=label, steps=steps,
        expected_shortfall=expected_shortfall, strategy=strategy, sampling=sampling,
    )  # fmt: skip
    if quiet:
        print(out)
        return
    names = ", ".join(windows.symbols)
    print(f"{len(windows):,} windows of {windows.steps} returns of {names}, written to {out}")
