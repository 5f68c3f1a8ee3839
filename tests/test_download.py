"""Downloads of bars from a local stand-in for the exchanges: pages, failures, resumption, gaps."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_stub import DAY_S, HOUR_S, START_S, Stub, serving

import marketsim as ms
from marketsim import cli
from marketsim.data.crypto_exchange import EXCHANGES, Patience
from marketsim.data.download import Downloaded, download_bars
from marketsim.errors import ConfigError, DataError

pytest.importorskip("ccxt", reason="ccxt is not installed: pip install 'marketsim-lob[crypto]'")

QUICK = Patience(retries=3, first_wait_s=0.01, longest_wait_s=2.0, timeout_s=5.0)
ODD = {"answer": "as if"}
FROM, UNTIL = "2024-01-01", "2024-02-15"  # 1,080 hours: two pages
HOURS = 1080


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """An exchange without a rate limit."""
    import ccxt

    monkeypatch.setattr(ccxt.Exchange, "throttle", lambda client, cost=None: None)
    with serving() as server:
        yield server


def get(stub: Stub, out: Path, *symbols: str, **changed: Any) -> list[Downloaded]:
    given: dict[str, Any] = {
        "exchange": "binance", "symbols": symbols or ("BTC/USDT",), "step": "1h", "start": FROM,
        "until": UNTIL, "out": out, "base_url": stub.url, "patience": QUICK, **changed,
    }  # fmt: skip
    return download_bars(**given)


def check(stub: Stub, file: Path, first_s: int, count: int, step_s: int = HOUR_S) -> None:
    """Whether a file holds just the bars that the exchange has."""
    bars = ms.read_bars(file)
    assert bars.step_s == step_s
    there = ~np.isnan(bars.close[:, 0])
    (name,) = bars.symbols
    wanted = [stub.bar(first_s + number * step_s, step_s, name) for number in range(count)]
    expected = np.array([bar for bar in wanted if bar is not None])
    np.testing.assert_array_equal(bars.time_s[there], expected[:, 0])
    for column, name in enumerate(("open", "high", "low", "close", "volume"), 1):
        np.testing.assert_array_equal(getattr(bars, name)[there, 0], expected[:, column])


@pytest.mark.parametrize("market", ["spot", "perpetual"])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_pages_become_files_that_read_bars_reads(
    exchange: str, market: str, stub: Stub, tmp_path: Path
) -> None:
    heard = []
    found = get(
        stub, tmp_path, "BTC/USDT", "ethusdt", exchange=exchange, market=market,
        progress=lambda what, share: heard.append(share),
    )  # fmt: skip
    assert [each.pair for each in found] == ["BTC/USDT", "ETH/USDT"]
    assert [each.file.name for each in found] == [
        f"{exchange}-{market}-BTCUSDT-1h.csv.gz", f"{exchange}-{market}-ETHUSDT-1h.csv.gz",
    ]  # fmt: skip
    for each in found:
        check(stub, each.file, START_S, HOURS)
        assert (each.bars, each.new, each.gaps) == (HOURS, HOURS, ())
        assert (each.first_s, each.last_s) == (START_S, START_S + (HOURS - 1) * HOUR_S)
    assert ms.read_bars([each.file for each in found]).symbols == ("BTCUSDT", "ETHUSDT")
    assert heard == sorted(heard) and heard[-1] == 1 and len(heard) == 4
    assert len(stub.pages) == 4
    assert {file.name for file in tmp_path.iterdir()} == {each.file.name for each in found}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_bar_that_still_forms_is_left_for_the_next_time(
    exchange: str, stub: Stub, tmp_path: Path
) -> None:
    stub.now_s = START_S + 10 * HOUR_S + 1799
    (found,) = get(stub, tmp_path, exchange=exchange, until=None)
    check(stub, found.file, START_S, 10)
    stub.now_s += HOUR_S
    stub.seen.clear()
    (again,) = get(stub, tmp_path, exchange=exchange, until="2024-01-05")
    check(stub, again.file, START_S, 11)
    assert (again.bars, again.new) == (11, 1)
    (page,) = stub.pages
    assert int(page.get("startTime", page.get("start", 0))) == 1000 * (START_S + 10 * HOUR_S)


def test_a_date_between_two_bars_takes_those_that_start_within(stub: Stub, tmp_path: Path) -> None:
    (found,) = get(stub, tmp_path, start="2024-01-01 00:30", until="2024-01-01T05:00:01+01:00")
    check(stub, found.file, START_S + HOUR_S, 4)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_is_there_is_not_asked_for_again(kind: str, stub: Stub, tmp_path: Path) -> None:
    stub.gaps = [(START_S + 50 * HOUR_S, START_S + 53 * HOUR_S)]
    (found,) = get(stub, tmp_path, until="2024-01-10", file_format=kind)
    content, when = found.file.read_bytes(), found.file.stat().st_mtime_ns
    stub.seen.clear()
    (again,) = get(stub, tmp_path, until="2024-01-10", file_format=kind)
    assert again.new == 0 and again.bars == found.bars == 9 * 24 - 3
    assert [page["limit"] for page in stub.pages] == ["3"]  # the gap alone
    assert found.file.read_bytes() == content and found.file.stat().st_mtime_ns == when
    stub.gaps = []  # the exchange has mended it
    (mended,) = get(stub, tmp_path, until="2024-01-10", file_format=kind)
    assert mended.new == 3
    check(stub, mended.file, START_S, 9 * 24)


def test_other_dates_leave_no_hole_between(stub: Stub, tmp_path: Path) -> None:
    get(stub, tmp_path, start="2024-01-10", until="2024-01-12")
    (found,) = get(stub, tmp_path, start="2024-01-20", until="2024-01-21")
    check(stub, found.file, START_S + 9 * DAY_S, 11 * 24)
    (found,) = get(stub, tmp_path, start="2024-01-02", until="2024-01-03")
    check(stub, found.file, START_S + DAY_S, 19 * 24)
    assert found.gaps == ()


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize(
    "fault", [(429, {"Retry-After": "1"}), (500, {}), (503, {}), "cut", "short", "page"]
)
def test_what_passes_is_tried_again(fault: Any, exchange: str, stub: Stub, tmp_path: Path) -> None:
    stub.faults = [None, fault]
    heard: list[str] = []
    (found,) = get(
        stub, tmp_path, exchange=exchange, progress=lambda what, share: heard.append(what)
    )
    check(stub, found.file, START_S, HOURS)
    assert found.gaps == () and len(stub.pages) == 3
    assert [what for what in heard if what.startswith("waits for ")]
    if isinstance(fault, tuple) and fault[1]:
        times = [at for at, path, _ in stub.seen if path.endswith(("klines", "kline"))]
        assert times[2] - times[1] >= 1.0


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_patience_ends_and_what_was_downloaded_is_kept(
    exchange: str, stub: Stub, tmp_path: Path
) -> None:
    stub.faults = [None, (502, {}), "cut", (500, {}), (429, {}), "never reached"]
    with pytest.raises(
        DataError, match=f"{exchange}: bars of BTC/USDT from 2024-02-11 16:00:00: "
    ) as e:
        get(stub, tmp_path, exchange=exchange)
    assert "no answer in 4 tries" in str(e.value) and "1,000 bars so far are kept" in str(e.value)
    assert stub.faults == ["never reached"]
    assert not list(tmp_path.glob("*.csv.gz"))
    stub.faults = []
    stub.seen.clear()
    (found,) = get(stub, tmp_path, exchange=exchange)
    assert len(stub.pages) == 1 and found.bars == HOURS
    check(stub, found.file, START_S, HOURS)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((429, {"Retry-After": "7200"}), "it asks to wait for 7200 s"),
        ((418, {"Retry-After": "300"}), "it asks to wait for 300 s"),
        ((451, {}), "HTTP 451"),
        ((403, {}), "HTTP 403"),
        ((404, {}), "HTTP 404"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    fault: Any, message: str, stub: Stub, tmp_path: Path
) -> None:
    stub.faults = [fault]
    with pytest.raises(DataError, match=message):
        get(stub, tmp_path)
    assert len(stub.pages) == 1


def test_an_answer_of_another_shape_is_not_taken_for_a_gap(stub: Stub, tmp_path: Path) -> None:
    stub.faults = [ODD]
    (found,) = get(stub, tmp_path / "once")
    check(stub, found.file, START_S, HOURS)
    stub.faults = [ODD] * 4
    with pytest.raises(DataError, match="bars of BTC/USDT from .* no answer in 4 tries .*as if"):
        get(stub, tmp_path / "often")
    stub.faults = [ODD]
    with pytest.raises(DataError, match="bybit: bars of BTC/USDT from .*as if"):
        get(stub, tmp_path, exchange="bybit")


def test_refusals_in_an_answers_own_words(stub: Stub, tmp_path: Path) -> None:
    busy = {"retCode": 10006, "retMsg": "Too many visits. Exceeded the API Rate Limit."}
    stub.faults = [busy, busy]
    (found,) = get(stub, tmp_path, exchange="bybit")
    check(stub, found.file, START_S, HOURS)
    stub.faults = [{"retCode": 10001, "retMsg": "params error: Symbol Invalid"}]
    with pytest.raises(DataError, match="bybit: bars of ETH/USDT .*Symbol Invalid"):
        get(stub, tmp_path, "ETH/USDT", exchange="bybit")
    assert not stub.faults


def test_a_kill_loses_no_page(stub: Stub, tmp_path: Path) -> None:
    stub.faults = [None, None, "hang"]
    line = [
        "data", "download", "bybit", "--symbols", "BTC/USDT", "--step", "1h", "--from",
        FROM, "--until", "2024-06-01", "--out", str(tmp_path), "--base-url", stub.url,
    ]  # fmt: skip
    with subprocess.Popen([sys.executable, "-m", "marketsim.cli", *line]) as process:
        for _ in range(600):
            if len(stub.pages) == 3:
                break
            time.sleep(0.05)
        process.kill()
    part = tmp_path / "bybit-spot-BTCUSDT-1h.csv.gz.part"
    assert os.listdir(tmp_path) == [part.name]
    assert len(part.read_text().splitlines()) == 2
    with part.open("ab") as file:
        file.write(part.read_bytes()[:1000])  # and one that came in half
    stub.seen.clear()
    assert cli.main([*line, "--quiet"]) == 0
    assert len(stub.pages) == 2  # 3,648 hours: four pages
    check(stub, tmp_path / part.name.removesuffix(".part"), START_S, 152 * 24)
    assert not part.exists()


def test_a_kill_before_the_pages_are_taken_away_doubles_no_bar(stub: Stub, tmp_path: Path) -> None:
    (found,) = get(stub, tmp_path, until="2024-01-10")
    page = {"first_s": START_S, "end_s": START_S + HOUR_S, "bars": [stub.bar(START_S, HOUR_S)]}
    part = found.file.with_name(f"{found.file.name}.part")
    part.write_text(json.dumps(page) + "\n")
    (again,) = get(stub, tmp_path, until="2024-01-10")
    assert again.new == 0 and not part.exists()
    check(stub, found.file, START_S, 9 * 24)


@pytest.mark.parametrize("cap", [1000, 300])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_gaps_are_the_exchanges_own_and_reported(
    cap: int, exchange: str, stub: Stub, tmp_path: Path
) -> None:
    """An exchange that gives fewer bars than asked, from the start or from the end, makes none."""
    first, second = START_S + 100 * HOUR_S, START_S + 999 * HOUR_S
    stub.gaps, stub.cap = [(first, first + 34 * HOUR_S), (second, second + HOUR_S)], cap
    (found,) = get(stub, tmp_path, exchange=exchange)
    check(stub, found.file, START_S, HOURS)
    assert found.gaps == ((first, first + 33 * HOUR_S), (second, second))
    assert found.bars == HOURS - 35
    gaps = ms.read_bars(found.file).gaps
    assert gaps["bars"].tolist() == [34, 1] and set(gaps["where"]) == {"inside"}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_time_before_a_market_opened_is_not_paged(
    exchange: str, stub: Stub, tmp_path: Path
) -> None:
    stub.listed_s = START_S + 5 * HOUR_S
    outage = START_S + 10 * HOUR_S, START_S + 60 * HOUR_S
    stub.gaps = [outage]
    (found,) = get(
        stub, tmp_path, exchange=exchange, step="1m", start="2023-01-01", until="2024-01-04"
    )
    check(stub, found.file, stub.listed_s, 67 * 60, 60)
    assert found.first_s == stub.listed_s
    assert found.gaps == ((outage[0], outage[1] - 60),)
    assert len(stub.seen) < 25  # 1,581 hours are as many minutes' pages


def test_requests_keep_to_the_rate_limit(tmp_path: Path) -> None:
    with serving() as stub:
        get(stub, tmp_path, exchange="bybit", until="2024-07-01")
    times = [at for at, path, _ in stub.seen if path == "/v5/market/kline"]
    assert len(times) == 5 and times[-1] - times[0] > 0.38  # 20 ms a unit of weight, five a page


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"exchange": "binanec"}, r"exchange: no 'binanec' here \(did you mean 'binance'\?\)"),
        ({"market": "spott"}, r"market: no 'spott' here \(did you mean 'spot'\?\)"),
        ({"symbols": ["BTC/USDC"]}, r"binance has no spot 'BTC/USDC' \(did you mean 'BTC/USDT'"),
        ({"symbols": ["nothing at all"]}, "binance has no spot 'nothing at all'$"),
        ({"symbols": []}, "symbols: must be a list of names"),
        ({"symbols": "BTC/USDT"}, "symbols: must be a list of names, was 'BTC/USDT'"),
        ({"symbols": ["BTC/USDT", "BTCUSDT"]}, "symbols: each must be named once, BTC/USDT"),
        ({"step": "1hour"}, "step: must be one of 1m, 3m, .*, was '1hour'"),
        ({"step": "1w"}, "step: must be one of"),
        ({"exchange": "bybit", "step": "8h"}, "step: must be one of .*6h, 12h, 1d, was '8h'"),
        ({"start": "yesteryear"}, "from: must be a date, was 'yesteryear'"),
        ({"start": ""}, "from: must be a date, was ''"),
        ({"until": "2024-13-01"}, "until: must be a date, was '2024-13-01'"),
        ({"until": FROM}, "until: must be after from, 2024-01-01 00:00:00, was 2024-01-01"),
        ({"start": "2031-01-01", "until": None}, "it is 2024-07-19 00:00:00 at binance"),
        ({"until": "2024-01-01 01:00"}, "from, until: two closed bars of 1h at least"),
        ({"file_format": "xlsx"}, "file_format must be one of csv, parquet, was 'xlsx'"),
        ({"base_url": "api.example.org"}, r"base_url: must be http\(s\)://host"),
        ({"base_url": "http://host:port"}, r"base_url: must be http\(s\)://host"),
        ({"base_url": "http://host/?key=1"}, r"base_url: must be http\(s\)://host"),
        ({"patience": {"retries": -1}}, "patience.retries must be >= 0, was -1"),
        ({"patience": {"timeout_s": 0}}, "patience.timeout_s must be > 0, was 0"),
        ({"patience": {"first_wait_s": float("nan")}}, "patience.first_wait_s must be a finite"),
        ({"start": "2021-01-01", "until": "2021-02-01"}, "binance: has 0 bars of BTC/USDT from"),
    ],
)
def test_bad_requests_are_named(
    changed: dict[str, Any], message: str, stub: Stub, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        if "patience" in changed:
            changed = {"patience": Patience(**changed["patience"])}
        get(stub, tmp_path, **changed)
    assert not list(tmp_path.glob("*.gz"))


def test_an_exchange_that_is_not_there_is_named(stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"binance: its markets: ExchangeError, HTTP 404"):
        get(stub, tmp_path, base_url=f"{stub.url}/mirror")
    with Stub() as other:
        closed = other.url
    with pytest.raises(DataError, match="bybit: its markets: no answer in 4 tries .*NetworkError"):
        get(stub, tmp_path, exchange="bybit", base_url=closed)


def test_one_bar_is_no_file(stub: Stub, tmp_path: Path) -> None:
    stub.listed_s = START_S + 23 * HOUR_S
    with pytest.raises(DataError, match="binance: has 1 bars of BTC/USDT from 2024-01-01 .* two"):
        get(stub, tmp_path, until="2024-01-02")
    assert not list(tmp_path.iterdir())


def test_the_proxy_of_the_environment_is_heeded(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", stub.url)
    (found,) = get(stub, tmp_path, base_url="http://exchange.invalid/", until="2024-01-02")
    check(stub, found.file, START_S, 24)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        (2, 1.0, "must have no high below its open or close"),
        (3, 1e6, "must have no low above its open or close"),
        (3, 0.0, "must have prices > 0 and a volume"),
        (5, -1.0, "must have a volume >= 0"),
        (0, START_S + 7.0, "must start at a multiple of 1h"),
    ],
)
def test_bars_that_contradict_themselves_are_named(
    column: int, value: float, rule: str, stub: Stub, tmp_path: Path
) -> None:
    def change(bar: list[float]) -> list[float]:
        bar[column] = value
        return bar

    stub.change = change
    with pytest.raises(DataError, match=f"binance: the bar of BTC/USDT at 2024-01-01 .* {rule}"):
        get(stub, tmp_path)


def test_files_of_something_else_are_named(stub: Stub, tmp_path: Path) -> None:
    (found,) = get(stub, tmp_path, until="2024-01-02")
    part = found.file.with_name(f"{found.file.name}.part")
    part.write_text('{"first_s": 1}\n')
    with pytest.raises(DataError, match=r"\.part: line 1 is damaged; delete it"):
        get(stub, tmp_path)
    part.unlink()
    found.file.rename(found.file.with_name("binance-spot-ETHUSDT-1h.csv.gz"))
    with pytest.raises(DataError, match="must hold bars of ETHUSDT 3600 s apart, was of BTCUSDT"):
        get(stub, tmp_path, "ETH/USDT")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match="out: .*file cannot be a folder"):
        get(stub, blocked)


def test_without_ccxt_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(
        ConfigError, match=r"binance needs ccxt; pip install 'marketsim-lob\[crypto"
    ):
        download_bars("binance", ["BTC/USDT"], "1h", FROM, out=tmp_path)
