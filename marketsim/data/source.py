"""One way to open market data, whatever its kind."""

import os
from pathlib import Path

from marketsim.errors import DataError
from marketsim.tape import Tape

#: Stands for the synthetic day that the package makes itself.
SYNTHETIC = "synthetic"
#: Behind the name of a shipped model: the flow that it wrote, to warm a market up with.
WARM_UP = "-warm-up"
_MODELS = Path(__file__).parents[1] / "generators" / "models"


def open_tape(source: str | os.PathLike[str]) -> Tape:
    """Open market data.

    Parameters
    ----------
    source
        ``"synthetic"``, ``"goog-warm-up"``, the folder of a saved tape or run, or a LOBSTER zip or
        message file.

    Raises
    ------
    DataError
        When there is nothing there, or it is none of these.
    """
    if source == SYNTHETIC:
        from marketsim.data.synthetic import synthetic_tape

        return synthetic_tape()
    path = Path(source)
    if isinstance(source, str) and source.endswith(WARM_UP) and not path.exists():
        path = _MODELS / source.removesuffix(WARM_UP) / "warm_up"
    if path.is_dir():
        of_a_run = path / "tape"
        return Tape.load(of_a_run if of_a_run.is_dir() else path)
    if not path.exists():
        raise DataError(f"{source}: no such file or folder")
    from marketsim.data.lobster import read_lobster

    return read_lobster(path)
