"""A local stand-in for Binance and Bybit: answers of the shape of theirs, with made-up numbers."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

HOUR_S = 3600
DAY_S = 86_400
START_S = 1_704_067_200  # 2024-01-01
SECONDS = {"1m": 60, "1h": HOUR_S, "1d": DAY_S, "1": 60, "60": HOUR_S, "D": DAY_S}
PAIRS = (("BTC", "USDT"), ("ETH", "USDT"), ("BNB", "USDT"))


class Stub(ThreadingHTTPServer):
    """What the two exchanges know, and how badly they behave.

    Attributes
    ----------
    now_s, listed_s : the exchange's time, and when its markets opened
    gaps : spans [s] without bars
    cap : bars in an answer at most
    faults : what the next requests for bars get instead: a status with headers, ``cut``, ``short``
        (a body that ends too early), ``page`` (of HTML), a dict (as JSON), ``hang``
        (nothing for as long as the test lasts), None (their answer)
    change : what is done to each bar of an answer
    seen : time, path and query of each request
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.now_s = START_S + 200 * DAY_S
        self.listed_s = START_S - 30 * DAY_S
        self.gaps: list[tuple[int, int]] = []
        self.cap = 1000
        self.faults: list[Any] = []
        self.change: Callable[[list[float]], list[float]] = lambda bar: bar
        self.ended = threading.Event()
        self.seen: list[tuple[float, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def pages(self) -> list[dict[str, str]]:
        """Queries for bars, without those for days."""
        queries = [query for _, path, query in self.seen if path.endswith(("klines", "kline"))]
        return [query for query in queries if query["interval"] not in ("1d", "D")]

    def bar(self, at_s: int, step_s: int, name: str = "BTCUSDT") -> list[float] | None:
        """Start, open, high, low, close, volume; None where there is none."""
        if any(low <= at_s and at_s + step_s <= high for low, high in self.gaps):
            return None
        if at_s + step_s <= self.listed_s or at_s > self.now_s:
            return None
        level = 100 * len(PAIRS) - 100 * [base + quote for base, quote in PAIRS].index(name)
        opens, close = (level + at % 1000 / 8 for at in (at_s // step_s, at_s // step_s + 1))
        volume = 5.0 if at_s + step_s <= self.now_s else 0.25  # the last one still forms
        return [at_s, opens, max(opens, close) + 0.5, min(opens, close) - 0.5, close, volume]

    def bars(self, first_ms: int, last_ms: int, query: dict[str, str]) -> list[list[float]]:
        step_s = SECONDS[query["interval"]]
        first = max(-(-first_ms // 1000 // step_s), self.listed_s // step_s)
        last = min(last_ms // 1000, self.now_s) // step_s
        found = (self.bar(at * step_s, step_s, query["symbol"]) for at in range(first, last + 1))
        return [self.change(bar) for bar in found if bar is not None]


@contextmanager
def serving() -> Iterator[Stub]:
    here = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # this machine's proxy is not asked
    with patch.dict(os.environ, here), Stub() as stub:
        thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            stub.ended.set()
            stub.shutdown()
            thread.join()


class Answers(BaseHTTPRequestHandler):
    """Public market data of Binance (spot and USDⓈ-M) and of Bybit (v5)."""

    server: Stub

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.server.seen.append((time.monotonic(), parts.path, query))
        is_page = parts.path.endswith(("klines", "kline")) and query["interval"] not in ("1d", "D")
        fault = self.server.faults.pop(0) if is_page and self.server.faults else None
        if fault == "hang":
            self.server.ended.wait(60)
        if fault in ("cut", "hang"):
            self.close_connection = True
            return
        if isinstance(fault, tuple):
            status, headers = fault
            self.send({"code": -1003, "msg": "Too many requests."}, status, headers)
            return
        if fault == "page":
            self.send("<html>Down for maintenance</html>", kind="text/html")
            return
        if isinstance(fault, dict):
            self.send(fault)
            return
        status, answer = self.answer(parts.path, query)
        self.send(answer, status, short=fault == "short")

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        routes = {
            "/api/v3/time": self.binance_time, "/fapi/v1/time": self.binance_time,
            "/api/v3/exchangeInfo": self.binance_spot,
            "/fapi/v1/exchangeInfo": self.binance_perpetual,
            "/api/v3/klines": self.binance_bars, "/fapi/v1/klines": self.binance_bars,
            "/v5/market/time": self.bybit_time,
            "/v5/market/instruments-info": self.bybit_markets,
            "/v5/market/kline": self.bybit_bars,
        }  # fmt: skip
        return routes[path](query) if path in routes else (404, {"code": -1, "msg": "no such path"})

    def send(
        self,
        answer: Any,
        status: int = 200,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
        short: bool = False,
    ) -> None:
        body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if short else body)
        self.close_connection = self.close_connection or short

    def binance_time(self, query: dict[str, str]) -> tuple[int, Any]:
        return 200, {"serverTime": self.server.now_s * 1000}

    def binance_spot(self, query: dict[str, str]) -> tuple[int, Any]:
        return 200, {"timezone": "UTC", "symbols": [
            {
                "symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote,
                "baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8,
                "isSpotTradingAllowed": True, "isMarginTradingAllowed": True,
                "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.01000000"}],
                "permissions": [], "permissionSets": [["SPOT"]],
            }
            for base, quote in PAIRS
        ]}  # fmt: skip

    def binance_perpetual(self, query: dict[str, str]) -> tuple[int, Any]:
        return 200, {"timezone": "UTC", "symbols": [
            {
                "symbol": base + quote, "pair": base + quote, "contractType": "PERPETUAL",
                "deliveryDate": 4133404800000, "onboardDate": 1569398400000, "status": "TRADING",
                "baseAsset": base, "quoteAsset": quote, "marginAsset": quote,
                "pricePrecision": 2, "quantityPrecision": 3, "underlyingType": "COIN",
                "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}],
            }
            for base, quote in PAIRS
        ]}  # fmt: skip

    def binance_bars(self, query: dict[str, str]) -> tuple[int, Any]:
        if query["symbol"] not in {base + quote for base, quote in PAIRS}:
            return 400, {"code": -1121, "msg": "Invalid symbol."}
        step_ms = SECONDS[query["interval"]] * 1000
        first_ms, last_ms = int(query["startTime"]), int(query["endTime"])
        found = self.server.bars(first_ms, last_ms, query)
        limit = min(int(query["limit"]), self.server.cap)
        return 200, [
            [
                int(at * 1000), *(f"{value:.8f}" for value in values),
                int(at * 1000) + step_ms - 1, "0.0", 1, "0.0", "0.0", "0",
            ]
            for at, *values in found[:limit]
        ]  # fmt: skip

    def enveloped(self, result: Any) -> tuple[int, Any]:
        time_ms = self.server.now_s * 1000
        return 200, {
            "retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": time_ms,
        }  # fmt: skip

    def bybit_time(self, query: dict[str, str]) -> tuple[int, Any]:
        now_s = self.server.now_s
        return self.enveloped({"timeSecond": str(now_s), "timeNano": f"{now_s}000000000"})

    def bybit_markets(self, query: dict[str, str]) -> tuple[int, Any]:
        listed = [
            {
                "symbol": base + quote, "baseCoin": base, "quoteCoin": quote, "settleCoin": quote,
                "contractType": "LinearPerpetual", "status": "Trading", "innovation": "0",
                "launchTime": "1585526400000", "deliveryTime": "0", "marginTrading": "both",
                "lotSizeFilter": {
                    "basePrecision": "0.000001", "quotePrecision": "0.00000001",
                    "minOrderQty": "0.001", "maxOrderQty": "100", "qtyStep": "0.001",
                },
                "leverageFilter": {"minLeverage": "1", "maxLeverage": "100"},
                "priceFilter": {"tickSize": "0.01"},
            }
            for base, quote in PAIRS
        ]  # fmt: skip
        return self.enveloped({"category": query["category"], "list": listed})

    def bybit_bars(self, query: dict[str, str]) -> tuple[int, Any]:
        """The latest bars of the span, the last one first."""
        found = self.server.bars(int(query["start"]), int(query["end"]), query)
        limit = min(int(query["limit"]), self.server.cap)
        listed = [[str(int(at * 1000)), *map(str, values), "0.0"] for at, *values in found[-limit:]]
        result = {"symbol": query["symbol"], "category": query["category"], "list": listed[::-1]}
        return self.enveloped(result)
