"""The command ``marketsim data``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from marketsim.cli_support import Interrupted
from marketsim.errors import ConfigError, DataError

if TYPE_CHECKING:
    from marketsim.data.download import Downloaded

Format = Literal["parquet", "lobster", "trades-lob", "windows"]
Word = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Count = Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")]

#: Gaps of an asset that a download names; the others it counts.
GAPS_SHOWN = 5


@dataclass(frozen=True)
class Inspect:
    """Say what a file of market data, a saved tape, bars or windows of returns hold."""

    path: tyro.conf.Positional[Path]
    """A LOBSTER zip or message file, the folder of a saved tape, or `synthetic`; bars (CSV,
    Parquet, or a folder of them); an archive of windows (.npz)."""

    def __call__(self) -> None:
        from marketsim import console
        from marketsim.data.source import open_tape
        from marketsim.return_tables import return_grids

        grids = return_grids(self.path)
        if grids is None:
            console.print_tape(open_tape(str(self.path)))  # as text: "synthetic" is no path
        else:
            console.print_grids(grids)


@dataclass(frozen=True)
class Convert:
    """Write a tape in another format, or bars as windows of returns."""

    path: tyro.conf.Positional[Path]
    """A LOBSTER zip or message file, the folder of a saved tape, or `synthetic`; to windows: bars
    (CSV, Parquet, or a folder of them)."""

    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """Folder to write; for trades-lob and windows (.npz) a file."""

    to: Format = "parquet"
    """parquet: a saved tape; lobster: message and order-book files; trades-lob: a training file;
    windows: an archive of windows of log returns."""

    window: Count = None
    """Returns in a window (default 24)."""

    stride: Count = None
    """Bars from the start of one window to the next (default 1)."""

    assets: Word = None
    """Names of the assets to take, A,B,C (default: all of them)."""

    price: Word = None
    """Of bars: close, or mid of open and close (default close)."""

    def __call__(self) -> None:
        from marketsim.data.source import open_tape

        if self.out.exists() and (self.out.is_file() or any(self.out.iterdir())):
            raise DataError(f"{self.out}: exists already; give another place")
        if self.to == "windows":
            self._windows()
            return
        for name in ("window", "stride", "assets", "price"):
            if getattr(self, name) is not None:
                raise ConfigError(f"--{name}: is of --to windows, was with --to {self.to}")
        tape = open_tape(str(self.path))
        write = {"parquet": tape.save, "lobster": tape.to_lobster, "trades-lob": tape.to_trades_lob}
        write[self.to](self.out)
        print(f"Written to {self.out}: {len(tape):,} orders as {self.to}")

    def _windows(self) -> None:
        from marketsim.data.crypto import read_bars
        from marketsim.data.return_windows import write_windows

        if self.out.suffix != ".npz":
            raise DataError(f"{self.out}: must end in .npz")
        names = None if self.assets is None else [name.strip() for name in self.assets.split(",")]
        windows = read_bars(self.path).windows(
            24 if self.window is None else self.window,
            1 if self.stride is None else self.stride,
            names,
            "close" if self.price is None else self.price,
        )
        write_windows(windows, self.out)
        print(
            f"Written to {self.out}: {len(windows):,} windows of {windows.steps} returns of"
            f" {', '.join(windows.symbols)}; {windows.left_out:,} with gaps left out"
        )


@dataclass(frozen=True)
class Download:
    """Download bars of crypto-currencies, on from the last one that is there (needs ccxt)."""

    exchange: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="EXCHANGE")]]
    """binance or bybit."""

    symbols: Annotated[str, tyro.conf.arg(metavar="A,B,C")]
    """Such as BTC/USDT,ETH/USDT."""

    start: Annotated[str, tyro.conf.arg(name="from", metavar="DATE")]
    """From this time, UTC where it does not say."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the files, one an asset."""

    step: Annotated[str, tyro.conf.arg(metavar="STEP")] = "1h"
    """Length of a bar: 1m, 3m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h (Binance), 12h, 1d."""

    until: Annotated[str | None, tyro.conf.arg(metavar="DATE", help_behavior_hint="")] = None
    """Until this time (default: all bars that are closed)."""

    market: Literal["spot", "perpetual"] = "spot"
    """spot, or perpetual: linear swaps."""

    file_format: Annotated[Literal["csv", "parquet"], tyro.conf.arg(name="format")] = "csv"
    """csv (compressed) or parquet."""

    base_url: Annotated[str | None, tyro.conf.arg(metavar="URL", help_behavior_hint="")] = None
    """Of a mirror, in place of the exchange's own."""

    quiet: bool = False
    """Print the files and nothing else."""

    def __call__(self) -> None:
        from marketsim import console
        from marketsim.data.download import download_bars

        names = [name.strip() for name in self.symbols.split(",") if name.strip()]
        try:
            with console.steps(f"download {self.exchange}", quiet=self.quiet) as tell:
                files = download_bars(
                    self.exchange, names, self.step, self.start, self.until, out=self.out,
                    market=self.market, file_format=self.file_format, base_url=self.base_url,
                    progress=tell,
                )  # fmt: skip
        except KeyboardInterrupt:
            if self.out.is_dir() and any(self.out.glob(f"{self.exchange}-*")):
                raise Interrupted(
                    f"the bars so far are kept in {self.out}; the same command goes on from there"
                ) from None
            raise Interrupted("nothing was written") from None
        for file in files:
            print(file.file if self.quiet else _line(file))


def _line(found: "Downloaded") -> str:
    """What a download brought, and what the exchange has not."""
    from marketsim.data.tables import date_of

    line = (
        f"{found.file}: {found.bars:,} bars of {found.pair}, {found.new:,} new,"
        f" {date_of(found.first_s)[:16]} to {date_of(found.last_s)[:16]} UTC"
    )
    if not found.gaps:
        return f"{line}, no gaps"
    spans = [
        date_of(first_s)[:16] + ("" if first_s == last_s else f" to {date_of(last_s)[:16]}")
        for first_s, last_s in found.gaps[:GAPS_SHOWN]
    ]
    more = len(found.gaps) - len(spans)
    return (
        f"{line}\n  {len(found.gaps):,} gap{'s'[: len(found.gaps) > 1]} in the exchange's data:"
        f" {'; '.join(spans)}{f'; and {more:,} more' if more else ''}"
    )


def data(
    action: Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Download, tyro.conf.subcommand("download")],
) -> None:
    """Inspect, convert and download market data."""
    action()
