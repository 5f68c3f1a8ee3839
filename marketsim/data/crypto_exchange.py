"""What a crypto exchange answers: its markets, its time, its bars; patiently, by way of ccxt."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from marketsim.checks import at_least_zero, did_you_mean, integer, positive
from marketsim.data.tables import date_of
from marketsim.errors import ConfigError, DataError

Rows = NDArray[np.float64]

EXCHANGES = ("binance", "bybit")
#: Kinds of markets, and what ccxt calls them where it asks for their list.
MARKETS = {"spot": "spot", "perpetual": "linear"}
#: Bars in an answer: the most that both exchanges give.
PAGE = 1000
DAY_S = 86_400
#: Lengths of bars [s] that start at multiples of themselves since 1970.
STEPS = {
    "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200,
    "4h": 14_400, "6h": 21_600, "8h": 28_800, "12h": 43_200, "1d": DAY_S,
}  # fmt: skip


@dataclass(frozen=True)
class Patience:
    """How often, and after which waits, an exchange is asked again.

    Attributes
    ----------
    retries : further tries of a request after network errors, 429 and 5xx
    first_wait_s : mean wait [s] before the first; it doubles with each, with a jitter of one half
    longest_wait_s : and grows no further. An exchange that asks for a longer one is given up.
    timeout_s : for an answer
    """

    retries: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 120.0
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        integer("patience.retries", self.retries, 0)
        at_least_zero("patience.first_wait_s", self.first_wait_s)
        at_least_zero("patience.longest_wait_s", self.longest_wait_s)
        positive("patience.timeout_s", self.timeout_s)

    def wait_s(self, tries: int, draw: random.Random) -> float:
        """Time to wait [s] after so many tries."""
        mean_s = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(tries - 1, 60))
        return mean_s * draw.uniform(0.5, 1.5)


@dataclass(frozen=True)
class Listing:
    """A market of an exchange: ``BTC/USDT``; its own name for it, ``BTCUSDT``; and ccxt's."""

    pair: str
    name: str
    ccxt_symbol: str


class CryptoExchange:
    """Binance or Bybit. Requests keep to its rate limit; failed ones are made again.

    Parameters
    ----------
    name : one of ``EXCHANGES``
    market : one of ``MARKETS``
    base_url : of a mirror, in place of the exchange's own ``https://host``
    tell : called with a sentence before each wait

    Raises
    ------
    ConfigError : another exchange or market, a URL that is none, ccxt is not installed
    """

    def __init__(
        self,
        name: str,
        market: str = "spot",
        base_url: str | None = None,
        patience: Patience | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if name not in EXCHANGES:
            raise ConfigError(f"exchange: no {name!r} here{did_you_mean(str(name), EXCHANGES)}")
        if market not in MARKETS:
            raise ConfigError(f"market: no {market!r} here{did_you_mean(str(market), MARKETS)}")
        self.name, self.market = name, market
        self.patience = patience or Patience()
        self._tell = tell or (lambda sentence: None)
        self._draw = random.Random()  # of waits alone: two downloads shall not wait in step
        self._client = _client(name, market, base_url, self.patience.timeout_s)

    def check_step(self, step: str) -> int:
        """Length of a bar [s].

        Raises
        ------
        ConfigError : one that the exchange has not, or that is no fixed length of time
        """
        known = [word for word in STEPS if word in self._client.timeframes]
        if step not in known:
            raise ConfigError(f"step: must be one of {', '.join(known)}, was {step!r}")
        return STEPS[step]

    def now_s(self) -> int:
        """The exchange's own time [s since 1970]: its bars close by it, not by this machine's."""
        return int(self._ask("its time", self._client.fetch_time)) // 1000

    def listings(self, symbols: Sequence[str]) -> list[Listing]:
        """The markets called ``BTC/USDT`` or ``BTCUSDT``.

        Raises
        ------
        ConfigError : none, one twice, or one that the exchange has not
        """
        if isinstance(symbols, str) or not symbols:
            raise ConfigError(f"symbols: must be a list of names, was {symbols!r}")
        flag = "spot" if self.market == "spot" else "swap"
        by_name: dict[str, Listing] = {}
        for entry in self._ask("its markets", self._client.load_markets).values():
            if entry[flag] and not entry["inverse"]:
                pair = f"{entry['base']}/{entry['quote']}"
                by_name[pair] = by_name[entry["id"]] = Listing(pair, entry["id"], entry["symbol"])
        found: list[Listing] = []
        for symbol in symbols:
            listing = by_name.get(str(symbol).strip().upper())
            if listing is None:
                # all that are known would be thousands
                meant = did_you_mean(str(symbol).upper(), by_name)
                meant = meant if "did you mean" in meant else ""
                raise ConfigError(f"symbols: {self.name} has no {self.market} {symbol!r}{meant}")
            if listing in found:
                raise ConfigError(f"symbols: each must be named once, {listing.pair} is twice")
            found.append(listing)
        return found

    def bars(self, listing: Listing, step: str, first_s: int, end_s: int) -> Rows:
        """Bars that start from ``first_s`` (in) to ``end_s`` (out), ``PAGE`` of them at most.

        Returns
        -------
        float64[n, 6] – start [s since 1970], open, high, low, close, volume; rising in time

        Raises
        ------
        DataError : no answer, in spite of all patience; bars that contradict themselves
        """
        what = f"bars of {listing.pair} from {date_of(first_s)}"
        limit = min(PAGE, (end_s - first_s) // STEPS[step])
        answer = self._ask(
            what, self._client.fetch_ohlcv, listing.ccxt_symbol, step, first_s * 1000, limit,
            {"until": end_s * 1000 - 1},
        )  # fmt: skip
        try:
            rows = np.array(answer, np.float64).reshape(len(answer), 6)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.name}: {what}: the answer holds no bars ({error})") from error
        rows[:, 0] /= 1000
        rows = rows[(rows[:, 0] >= first_s) & (rows[:, 0] < end_s)]
        rows = rows[np.unique(rows[:, 0], return_index=True)[1]]
        self._check(listing, step, rows)
        return rows

    def _check(self, listing: Listing, step: str, rows: Rows) -> None:
        time_s, opens, high, low, close, volume = rows.T
        for wrong, rule in (
            (time_s % STEPS[step] != 0, f"must start at a multiple of {step}"),
            (~(np.isfinite(rows).all(axis=1) & (low > 0)), "must have prices > 0 and a volume"),
            (volume < 0, "must have a volume >= 0"),
            (high < np.maximum(opens, close), "must have no high below its open or close"),
            (low > np.minimum(opens, close), "must have no low above its open or close"),
        ):
            if wrong.any():
                row = rows[int(np.flatnonzero(wrong)[0])]
                values = ", ".join(f"{value:g}" for value in row[1:])
                raise DataError(
                    f"{self.name}: the bar of {listing.pair} at {date_of(row[0])} {rule}, "
                    f"was {values}"
                )

    def _ask(self, what: str, request: Callable[..., Any], *values: Any) -> Any:
        """The answer to a request, made again as long as patience and the kind of error allow."""
        import ccxt

        tries = 0
        while True:
            tries += 1
            try:
                return request(*values)
            except ccxt.BaseError as error:
                status, asked_s = _refusal(error)
                why = _reason(error, status)
                if not _passing(isinstance(error, ccxt.OperationFailed), status):
                    raise DataError(f"{self.name}: {what}: {why}") from error
                wait_s = max(self.patience.wait_s(tries, self._draw), asked_s)
                if asked_s > self.patience.longest_wait_s:
                    why = f"it asks to wait for {asked_s:g} s ({why})"
                    raise DataError(f"{self.name}: {what}: {why}") from error
                if tries > self.patience.retries:
                    raise DataError(
                        f"{self.name}: {what}: no answer in {tries} tries ({why})"
                    ) from error
            except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                # JSON of another shape than ccxt knows
                raise DataError(
                    f"{self.name}: {what}: an answer without sense ({error!r})"
                ) from error
            self._tell(f"waits for {wait_s:.1f} s: {why}")
            time.sleep(wait_s)


def check_url(base_url: str) -> str:
    """A base URL without its last slash.

    Raises
    ------
    ConfigError : anything but ``http(s)://host``, with a port or a folder
    """
    parts = urlsplit(base_url) if isinstance(base_url, str) else urlsplit("")
    try:
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        fine = False
    if not fine or parts.query or parts.fragment:
        raise ConfigError(f"base_url: must be http(s)://host[:port][/folder], was {base_url!r}")
    return base_url.rstrip("/")


def _client(name: str, market: str, base_url: str | None, timeout_s: float) -> Any:
    """An exchange of ccxt, which asks for nothing but public market data."""
    try:
        import ccxt
    except ImportError as error:
        raise ConfigError(
            f"exchange: {name} needs ccxt; pip install 'marketsim-lob[crypto]'"
        ) from error
    settings = {
        "enableRateLimit": True,
        "timeout": round(1000 * timeout_s),
        "requests_trust_env": True,  # proxies of the environment, as everybody else heeds them
    }
    client = getattr(ccxt, name)(settings)
    client.options["fetchMarkets"] = {"types": [MARKETS[market]]}
    client.options["defaultType"] = "spot" if market == "spot" else "swap"
    if base_url is not None:
        base = check_url(base_url)
        for key, url in client.urls["api"].items():
            client.urls["api"][key] = base + urlsplit(url).path
    fetch = client.fetch

    def fetch_json(url: str, *values: Any, **named: Any) -> Any:
        """Refuse a cut, a page of a proxy and the like: ccxt would read them as no bars."""
        answer = fetch(url, *values, **named)
        if not isinstance(answer, list if "/klines?" in url else dict):  # Binance's bars are a list
            raise ccxt.BadResponse(f"{name} answered {str(answer)[:60]!r}")
        return answer

    client.fetch = fetch_json
    return client


def _refusal(error: BaseException) -> tuple[int | None, float]:
    """Status of the answer behind an error of ccxt, None without one; and what Retry-After says."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if response is not None:
            return int(response.status_code), _retry_after_s(response.headers.get("Retry-After"))
        cause = cause.__cause__ or cause.__context__
    return None, 0.0


def _retry_after_s(text: str | None) -> float:
    """Seconds of a header ``Retry-After``; 0 for a date, which no exchange sends."""
    return float(text) if text is not None and text.strip().isdecimal() else 0.0


def _passing(operation_failed: bool, status: int | None) -> bool:
    """Whether the same request may get an answer later."""
    if status is None or status == 200:
        return operation_failed  # the network, or a refusal in an answer's own words
    return status in (408, 418, 425, 429) or status >= 500


def _reason(error: Exception, status: int | None) -> str:
    cause = error.__cause__ if status is None and error.__cause__ is not None else error
    words = " ".join(str(cause).split())[:160]
    kind = type(error).__name__
    return f"{kind}{'' if status is None else f', HTTP {status}'}: {words}"
