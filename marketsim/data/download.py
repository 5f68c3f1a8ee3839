"""Bars from Binance and Bybit into files, on from the last bar that is there."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marketsim.checks import choice
from marketsim.data.bar_file import SUFFIXES, BarFile, Rows, Span, holes
from marketsim.data.crypto_exchange import DAY_S, PAGE, CryptoExchange, Listing, Patience
from marketsim.data.tables import date_of, seconds_of
from marketsim.errors import ConfigError, DataError

#: Called with what is being done, and the share of all that is done.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Downloaded:
    """An asset's file after a download.

    Attributes
    ----------
    pair, file : ``BTC/USDT``, and where its bars are
    bars, new : in the file, and how many of them are new
    first_s, last_s : start of its first and last bar [s since 1970, UTC]
    gaps : first and last missing bar of each gap of the exchange's data
    """

    pair: str
    file: Path
    bars: int
    new: int
    first_s: int
    last_s: int
    gaps: tuple[Span, ...]


def download_bars(
    exchange: str,
    symbols: Sequence[str],
    step: str,
    start: str,
    until: str | None = None,
    *,
    out: str | os.PathLike[str],
    market: str = "spot",
    file_format: str = "csv",
    base_url: str | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> list[Downloaded]:
    """Download bars, a file an asset, which :func:`marketsim.read_bars` reads.

    What is there already is not asked for again; what was interrupted goes on where it was. If the
    file holds bars of another time, those between are downloaded too: only the exchange makes gaps.

    Parameters
    ----------
    exchange : ``binance`` or ``bybit``
    symbols : such as ``BTC/USDT``, or as the exchange says, ``BTCUSDT``
    step : length of a bar: ``1m``, ``5m``, ``1h``, ``1d``, …
    start, until : dates, in UTC where they do not say; bars that start from ``start`` (in) to
        ``until`` (out), and that are closed by the exchange's clock. Without ``until``: all those.
    out : folder; files are called ``binance-spot-BTCUSDT-1h.csv.gz``
    market : ``spot``, or ``perpetual``: linear swaps
    file_format : ``csv``, compressed, or ``parquet``
    base_url : of a mirror or a proxy, ``https://host``, in place of the exchange's own
    patience : with an exchange that does not answer
    progress : called with what is being done and the share that is done

    Raises
    ------
    ConfigError : a name, a step, a date or a URL that is none; ccxt is not installed
    DataError : no answer, after all retries: what was downloaded is kept; an exchange without such
        bars; a file that cannot be read or written
    """
    suffix = SUFFIXES[choice("file_format", file_format, tuple(SUFFIXES))]
    tell = progress or (lambda what, share: None)
    done = 0.0
    source = CryptoExchange(
        exchange, market, base_url, patience, lambda sentence: tell(sentence, done)
    )
    step_s = source.check_step(step)
    asked_s = _asked(start, until)
    listings = source.listings(symbols)
    span = _closed(asked_s, step, step_s, source)
    folder = _folder(Path(out))
    results = []
    for number, listing in enumerate(listings):

        def said(at_s: int, share: float, pair: str = listing.pair, number: int = number) -> None:
            nonlocal done
            done = (number + share) / len(listings)
            tell(f"{pair} until {date_of(at_s)[:16]}", done)

        file = folder / f"{exchange}-{market}-{listing.name}-{step}{suffix}"
        results.append(
            _download(source, listing, step, BarFile(file, listing.name, step_s), span, said)
        )
    return results


def _folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"out: {out} cannot be a folder: {error.strerror}") from error
    return out


def _asked(start: str, until: str | None) -> tuple[int, int | None]:
    """Two dates as seconds since 1970."""
    from_s = seconds_of("from", start)
    if until is None:
        return from_s, None
    until_s = seconds_of("until", until)
    if until_s <= from_s:
        raise ConfigError(f"until: must be after from, {date_of(from_s)}, was {date_of(until_s)}")
    return from_s, until_s


def _closed(
    asked_s: tuple[int, int | None], step: str, step_s: int, source: CryptoExchange
) -> Span:
    """Start of the first bar that is wanted, and of the first after it that is not.

    The bar that still forms is not: it would change, and nobody would ask for it again.
    """
    first_s = -(-asked_s[0] // step_s) * step_s
    now_s = source.now_s()
    end_s = now_s // step_s * step_s
    if asked_s[1] is not None:
        end_s = min(end_s, -(-asked_s[1] // step_s) * step_s)
    if end_s - first_s < 2 * step_s:
        raise ConfigError(
            f"from, until: two closed bars of {step} at least must be between them; "
            f"it is {date_of(now_s)} at {source.name}"
        )
    return first_s, end_s


def _download(
    source: CryptoExchange,
    listing: Listing,
    step: str,
    file: BarFile,
    span: Span,
    said: Callable[[int, float], None],
) -> Downloaded:
    """One asset's bars."""
    before = len(file.rows)
    spans = file.missing(*span)
    whole = max(1, sum(end_s - first_s for first_s, end_s in spans))
    done = 0
    try:
        for first_s, end_s in spans:
            at_s = first_s
            while at_s < end_s:
                upto_s, rows = _page(source, listing, step, file.step_s, at_s, end_s)
                file.append(at_s, upto_s, rows)
                done, at_s = done + upto_s - at_s, upto_s
                said(at_s, done / whole)
    except DataError as error:
        kept = f"; the {len(file.rows):,} bars so far are kept, and the same call goes on"
        raise DataError(f"{error}{kept if len(file.rows) else ''}") from error
    rows = file.rows
    if len(rows) < 2:  # no file of bars: nobody could say how long one is
        file.discard()
        raise DataError(
            f"{source.name}: has {len(rows)} bars of {listing.pair} from {date_of(span[0])} to "
            f"{date_of(span[1])}, must be two at least"
        )
    file.finish()
    time_s = rows[:, 0].astype(np.int64)
    first_s, last_s = int(time_s[0]), int(time_s[-1])
    gaps = holes(time_s, first_s, last_s, file.step_s)
    return Downloaded(
        listing.pair, file.file, len(rows), len(rows) - before, first_s, last_s,
        tuple((low, high - file.step_s) for low, high in gaps),
    )  # fmt: skip


def _page(
    source: CryptoExchange, listing: Listing, step: str, step_s: int, at_s: int, end_s: int
) -> tuple[int, Rows]:
    """Where the next page begins, and the bars until there.

    A hole in an answer is asked for alone before it is believed: an exchange may give fewer bars
    than it was asked for, and not always the first ones.
    """
    upto_s = min(end_s, at_s + PAGE * step_s)
    parts = [np.empty((0, 6))]
    doubted = [(at_s, upto_s)]
    while doubted:
        first_s, last_s = doubted.pop()
        rows = source.bars(listing, step, first_s, last_s)
        if len(rows):
            parts.append(rows)
            doubted += holes(rows[:, 0].astype(np.int64), first_s, last_s, step_s)
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows[:, 0])]
    if not len(rows) and upto_s < end_s and step_s < DAY_S:
        return _skip(source, listing, step_s, upto_s, end_s), rows
    return upto_s, rows


def _skip(source: CryptoExchange, listing: Listing, step_s: int, at_s: int, end_s: int) -> int:
    """First time from ``at_s`` on that may have bars: years before a market opened are not paged.

    Days are asked for instead: where there is none, there is no shorter bar.
    """
    day_s = at_s // DAY_S * DAY_S
    last_s = min(-(-end_s // DAY_S) * DAY_S, day_s + PAGE * DAY_S)
    days = source.bars(listing, "1d", day_s, last_s)
    open_s = int(days[0, 0]) if len(days) else last_s
    return min(end_s, max(at_s, open_s))
