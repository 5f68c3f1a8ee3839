"""The command ``marketsim sample``."""

from pathlib import Path
from typing import Annotated

import tyro

from marketsim.cli_support import Interrupted, parse_pairs, parse_values
from marketsim.errors import DataError

Model = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="[MODEL]")]]
Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]
Time = Annotated[str | None, tyro.conf.arg(metavar="HH:MM[:SS]", help_behavior_hint="")]
Sets = Annotated[
    tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="set", metavar="KEY=VALUE")
]


def sample(
    model: Model = "goog",
    /,
    *,
    out: Folder,
    warm_up: Annotated[str, tyro.conf.arg(metavar="TAPE[@FROM-TO]")] = "goog-warm-up",
    n: Count = None,
    until: Time = None,
    seed: int = 0,
    parameters: Sets = (),
    device: str = "cpu",
    with_warm_up: bool = False,
    quiet: bool = False,
) -> None:
    """Write synthetic order flow: a tape, TRADES-LOB's 50 columns, LOBSTER files.

    Args:
        model: Folder of a trained generator, or the name of a shipped one.
        warm_up: Recorded flow that the market goes on from: a LOBSTER zip or message file, the
                folder of a saved tape, or `synthetic`; without TO its first 15 minutes.
        out: Folder to write.
        n: How many orders (default 10000).
        until: Until this time of day, instead.
        seed: The same seed gives the same data.
        parameters: Set a parameter of the model, such as steps=20.
        device: Where the model computes: cpu, cuda.
        with_warm_up: Write the recorded flow before the generated one too.
        quiet: Print the folder and nothing else.
    """
    from marketsim import console
    from marketsim.clock import parse_time
    from marketsim.data.pieces import Piece
    from marketsim.sampling import sample_flow

    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"--out {out}: exists already; give another place")
    with console.steps("sample", quiet=quiet) as tell:
        flow = sample_flow(
            model, Piece.parse(warm_up), n=n, seed=seed, device=device, with_warm_up=with_warm_up,
            until_ns=None if until is None else parse_time(until, "--until"),
            sampling=parse_values(parse_pairs(parameters, "--set"), "--set"), progress=tell,
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
