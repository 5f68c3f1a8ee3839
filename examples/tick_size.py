"""What a coarser tick does to a market: RMSC04 mornings with ticks of 1, 5, 10 and 25 cents.

Every tick size sees the same fundamental values and the same random streams, seed by seed.
Run with ``python examples/tick_size.py``.
"""

import numpy as np

import marketsim as ms

SEEDS = range(10)


def measure(run):
    """Spread, lots at the touch, one-minute volatility and volume after the first half hour."""
    tape = run.tape.between("10:00", "12:00")
    book = tape.book
    both = (book.bid_size_lots[:, 0] > 0) & (book.ask_size_lots[:, 0] > 0)
    bid, ask = book.bid_price_ticks[both, 0], book.ask_price_ticks[both, 0]
    touch = (book.bid_size_lots[both, 0] + book.ask_size_lots[both, 0]) / 2
    times = book.time_ns[both]
    held_s = np.diff(times) / 1e9
    minutes = np.arange(times[0], times[-1], 60_000_000_000)
    mids = (bid + ask)[np.searchsorted(times, minutes, side="right") - 1] / 2
    volatility_bps = np.std(np.diff(np.log(mids))) * 1e4
    spread = np.average(ask[:-1] - bid[:-1], weights=held_s)
    return (
        spread,
        np.average(touch[:-1], weights=held_s),
        volatility_bps,
        tape.trades["size_lots"].sum(),
    )


def main():
    print("tick  spread  lots at touch  volatility  volume")
    print("cents  cents                  bps/min      lots")
    for tick in (1, 5, 10, 25):
        runs = ms.run_batch(
            "rmsc04", SEEDS, until="12:00", overrides={"symbols.0.price_increment_ticks": tick}
        )
        spread, touch, volatility, volume = np.mean([measure(run) for run in runs], axis=0)
        print(f"{tick:>4}  {spread:>6.2f}  {touch:>13.0f}  {volatility:>10.2f}  {volume:>7,.0f}")


if __name__ == "__main__":
    main()
