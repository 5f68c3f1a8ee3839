"""Bad populations, oracles, latencies and bases: errors that name field, rule and value."""

import re
from pathlib import Path
from typing import Any

import pytest

from marketsim.cli import main
from marketsim.configs import load_config
from marketsim.errors import MarketSimError
from marketsim.simulation import Simulation

POPULATIONS: dict[str, dict[str, Any]] = {
    "noise": {"size": [1, 3]},
    "value": {"arrival_rate": 1e-9},
    "momentum": {"interval": "1s"},
    "market_maker": {"levels": 3},
}
MARKET = {"session": {"open": "09:30", "close": "09:31"}, "oracle": {"type": "mean_reverting"}}


def says(error: str, config: Any, **overrides: Any) -> None:
    """Assert that a simulation is refused with exactly this in its one line."""
    with pytest.raises(MarketSimError, match=re.escape(error)) as caught:
        Simulation(config, overrides=overrides)
    assert "\n" not in str(caught.value)


def one(agent: dict[str, Any], **config: Any) -> dict[str, Any]:
    return {**MARKET, "agents": {"them": agent}, **config}


@pytest.mark.parametrize("kind", POPULATIONS)
@pytest.mark.parametrize(
    "count, rule",
    [(0, ">= 1, was 0"), (-1, ">= 1, was -1"), (1.5, "a whole number, was 1.5"),
     ("many", "a whole number, was 'many'"), (True, "a whole number, was True"),
     (None, "a whole number, was None")],
)  # fmt: skip
def test_counts(kind: str, count: Any, rule: str) -> None:
    says(f"agents.them.count must be {rule}", one({"type": kind, "count": count}))


@pytest.mark.parametrize(
    "wrong, meant",
    [
        ("nois", "noise"),
        ("valu", "value"),
        ("market-maker", "market_maker"),
        ("momentun", "momentum"),
    ],
)
def test_unknown_populations_and_what_was_meant(wrong: str, meant: str) -> None:
    says(
        f"agents.them.type: unknown agent {wrong!r} (did you mean {meant!r}?)", one({"type": wrong})
    )


@pytest.mark.parametrize(
    "kind, key, meant",
    [("noise", "sise", "size"), ("value", "arival_rate", "arrival_rate"),
     ("momentum", "shrt", "short"), ("market_maker", "participaton", "participation"),
     ("noise", "cuont", "count")],
)  # fmt: skip
def test_unknown_parameters_and_what_was_meant(kind: str, key: str, meant: str) -> None:
    error = f"agents.them: unknown key {key!r} (did you mean {meant!r}?)"
    says(error, one({"type": kind, key: 1}))
    for secret in ("wake", "parameters", "state"):
        says(f"agents.them: unknown key {secret!r}", one({"type": kind, secret: 1}))


PARAMETERS = [
    ("noise", "end", "09:00", "end must be later than start '09:00', was '09:00'"),
    ("noise", "start", "9 o'clock", "start must be HH:MM"),
    ("value", "arrival_rate", 0, "arrival_rate must be > 0, was 0"),
    ("value", "arrival_rate", -1e-9, "arrival_rate must be > 0, was -1e-09"),
    ("value", "arrival_rate", 1.5, "arrival_rate must be <= 1 a nanosecond, was 1.5"),
    ("value", "arrival_rate", float("nan"), "arrival_rate must be a finite number, was nan"),
    ("value", "kappa", -1e-15, "kappa must be >= 0 and < 1, was -1e-15"),
    ("value", "kappa", 1, "kappa must be >= 0 and < 1, was 1"),
    ("value", "observation_variance", -1, "observation_variance must be >= 0, was -1"),
    ("value", "shock_variance", -1, "shock_variance must be >= 0, was -1"),
    ("value", "depth_spread", -0.1, "depth_spread must be >= 0, was -0.1"),
    ("value", "aggressive_share", 1.1, "aggressive_share must be from 0 to 1, was 1.1"),
    ("value", "r_bar", 0, "r_bar must be > 0, was 0"),
    ("momentum", "interval", 0, "interval must be > 0, was 0"),
    ("momentum", "interval", 2**63, "interval must be <= 2**62 ns, was 9223372036854775808"),
    ("momentum", "interval", "-3s", "interval must be a number with ns"),
    ("momentum", "short", 0, "short must be >= 1, was 0"),
    ("momentum", "long", 20, "long must be >= 21, was 20"),
    ("momentum", "poisson", "yes", "poisson must be true or false, was 'yes'"),
    ("market_maker", "levels", 0, "levels must be >= 1, was 0"),
    ("market_maker", "levels", 101, "levels must be <= 100, was 101"),
    ("market_maker", "min_size", 0, "min_size must be >= 1, was 0"),
    ("market_maker", "participation", -0.1, "participation must be >= 0, was -0.1"),
    ("market_maker", "interval", "0s", "interval must be > 0, was '0s'"),
    ("market_maker", "lookback", 0, "lookback must be > 0, was 0"),
    ("market_maker", "level_spacing", 0, "level_spacing must be > 0, was 0"),
    ("market_maker", "first_spread", -1, "first_spread must be > 0, was -1"),
    ("market_maker", "spread_alpha", 1.5, "spread_alpha must be from 0 to 1, was 1.5"),
    ("market_maker", "backstop", -1, "backstop must be >= 0, was -1"),
    ("market_maker", "renew_at", 10, "renew_at must be <= 9, was 10"),
    ("market_maker", "renew_pause", "0ms", "renew_pause must be >= 1ms, was '0ms'"),
    ("market_maker", "cancel_delay_ns", -1, "cancel_delay_ns must be >= 0, was -1"),
    ("market_maker", "price_skew", "up", "price_skew must be a finite number, was 'up'"),
]


@pytest.mark.parametrize("kind, key, value, error", PARAMETERS)
def test_parameters(kind: str, key: str, value: Any, error: str) -> None:
    says(f"agents.them: {error}", one({"type": kind, key: value}))


SIZES = [
    (0, "size must be >= 1, was 0"),
    (-5, "size must be >= 1, was -5"),
    (1.5, "size must be lots, [low, high], 'mixture' or a list of weighted distributions, was 1.5"),
    (True, "size must be lots"),
    (None, "size must be lots"),
    ("mixtur", "size must be lots"),
    ([], "size must be lots"),
    ({"normal": [1, 2]}, "size must be lots"),
    ([1], "size must be [low, high], was [1]"),
    ([1, 2, 3], "size must be [low, high], was [1, 2, 3]"),
    ([5, 4], "size.1 must be >= 5, was 4"),
    ([0, 4], "size.0 must be >= 1, was 0"),
    ([1.5, 4], "size.0 must be a whole number, was 1.5"),
    ([{"weight": 0, "normal": [1, 2]}], "size.0.weight must be > 0, was 0"),
    ([{"weight": -1, "normal": [1, 2]}], "size.0.weight must be > 0, was -1"),
    ([{"weight": 1}], "size.0 must have one of uniform, normal, lognormal, has []"),
    ([{"normal": [1, 2], "uniform": [1, 2]}], "size.0 must have one of uniform, normal, lognormal"),
    ([{"normal": [1]}], "size.0.normal must be [mean, standard deviation], was [1]"),
    ([{"normal": [1, -2]}], "size.0.normal.1 must be >= 0, was -2"),
    ([{"normal": ["a", 2]}], "size.0.normal.0 must be a finite number, was 'a'"),
    ([{"uniform": [3, 2]}], "size.0.uniform.1 must be >= 3, was 2"),
    ([{"normal": 7}], "size.0.normal must be a list, was 7"),
    ([{"normal": [1, 2]}, 3], "size.1 must be a mapping of keys to values, was 3"),
    ([{"norml": [1, 2]}], "size.0: unknown key 'norml' (did you mean 'normal'?)"),
]


@pytest.mark.parametrize("size, error", SIZES)
@pytest.mark.parametrize("kind", ["noise", "value", "momentum"])
def test_sizes(kind: str, size: Any, error: str) -> None:
    says(f"agents.them: {error}", one({"type": kind, "size": size}))


ORACLES = [
    ({}, "oracle: key 'type' is required: one of sparse_mean_reverting, mean_reverting, file"),
    ({"type": "sparse"}, "oracle.type: unknown type 'sparse'"),
    ({"type": "mean_revertin"},
     "oracle.type: unknown type 'mean_revertin' (did you mean 'mean_rev"),
    ({"type": "file"}, "oracle: key 'path' is required"),
    ({"type": "file", "path": ""}, "oracle.path must be text and not empty, was ''"),
    ({"type": "file", "path": "x", "max_gap": 0}, "oracle.max_gap must be > 0, was 0"),
    ({"type": "mean_reverting", "r_ba": 1}, "oracle: unknown key 'r_ba' (did you mean 'r_bar'?)"),
    ({"type": "mean_reverting", "r_bar": 0}, "oracle.r_bar must be > 0, was 0"),
    ({"type": "mean_reverting", "kappa": 1.5}, "oracle.kappa must be from 0 to 1, was 1.5"),
    ({"type": "mean_reverting", "shock_variance": -1},
     "oracle.shock_variance must be >= 0, was -1"),
    ({"type": "mean_reverting", "step": 0}, "oracle.step must be > 0, was 0"),
    ({"type": "mean_reverting", "step": "1us"}, "step must give at most 86,400,001 points, '1us'"),
    ({"type": "sparse_mean_reverting", "kappa": -1}, "oracle.kappa must be >= 0, was -1"),
    ({"type": "sparse_mean_reverting", "volatility": -1}, "oracle.volatility must be >= 0, was -1"),
    ({"type": "sparse_mean_reverting", "megashock_rate": -1},
     "oracle.megashock_rate must be >= 0, was -1"),
    ({"type": "sparse_mean_reverting", "megashock_rate": 1},
     "megashock_rate must give at most 1,000,000 shocks, 1 gives 2.34e+13"),
    ({"type": "sparse_mean_reverting", "megashock_variance": -1},
     "oracle.megashock_variance must be >= 0, was -1"),
    ({"type": "sparse_mean_reverting", "megashock_mean": "big"},
     "oracle.megashock_mean must be a finite number, was 'big'"),
    ("file", "oracle must be a mapping of keys to values, was 'file'"),
]  # fmt: skip


@pytest.mark.parametrize("oracle, error", ORACLES)
def test_oracles(oracle: Any, error: str) -> None:
    says(error, {"oracle": oracle})
    if error.startswith("oracle"):
        says(error.replace("oracle", "oracles.SIM", 1), {"oracles": {"SIM": oracle}})


def test_oracles_of_unknown_symbols_and_agents_without_one() -> None:
    wild = {"type": "mean_reverting"}
    says("oracles: unknown symbol 'AAL' (did you mean 'AAPL'?)",
         {"symbols": [{"name": "AAPL"}], "oracles": {"AAL": wild}})  # fmt: skip
    needs = "agents.them: needs a fundamental value: give `oracle:` in the configuration"
    says(needs, {"agents": {"them": {"type": "value"}}})
    symbols = [{"name": "A"}, {"name": "B"}]
    on_b = one({"type": "value", "symbol": "B"}, symbols=symbols, oracle=None)
    says(needs, {**on_b, "oracles": {"A": wild}})
    says(needs, {**on_b, "oracle": wild, "oracles": {"B": None}})
    Simulation({**on_b, "oracles": {"B": wild}})
    says("agents.them.symbol: unknown symbol 'C'", {**on_b, "agents": {"them": {
        "type": "value", "symbol": "C"}}})  # fmt: skip


SITES = {
    "model": "matrix",
    "sites": ["NY", "LON"],
    "latency_ns": [[1, 2], [3, 4]],
    "exchange": "NY",
}
LATENCIES = [
    ({"model": "constan"}, "latency.model: unknown model 'constan' (did you mean 'constant'?)"),
    ({"latency_ns": 5},
     "latency: key 'model' is required: one of constant, uniform, cubic, matrix"),
    ({"model": "constant", "latency_ns": -1}, "latency.latency_ns must be a number with ns"),
    ({"model": "constant", "latency_ns": "25h"}, "latency.latency_ns must be <= a day"),
    ({"model": "uniform", "low_ns": 5}, "latency: key 'high_ns' is required"),
    ({"model": "uniform", "low_ns": 5, "high_ns": 4}, "latency.high_ns must be >= low_ns 5, was 4"),
    ({"model": "cubic"}, "latency: key 'min_latency_ns' is required"),
    ({"model": "cubic", "min_latency_ns": 1, "jitter": 2},
     "latency.jitter must be from 0 to 1, was 2"),
    ({"model": "cubic", "min_latency_ns": 1, "jitter_clip": 0},
     "latency.jitter_clip must be from 0.0001 to 1, was 0"),
    ({"model": "cubic", "min_latency_ns": 1, "jitter_unit": 0},
     "latency.jitter_unit must be > 0, was 0"),
    ({"model": "geometry", "length_m": 0}, "latency.length_m must be > 0, was 0"),
    ({"model": "geometry", "exchange_m": -1},
     "latency.exchange_m must be from 0 to length_m 3.86666e+06"),
    ({"model": "geometry", "speed_m_per_s": 1},
     "latency.speed_m_per_s must cross the line in a day, was 1"),
    ({"model": "geometry", "lenght_m": 1},
     "latency: unknown key 'lenght_m' (did you mean 'length_m'?)"),
    ({**SITES, "sites": []}, "latency.sites must be different names, at least one, were []"),
    ({**SITES, "sites": ["NY", "NY"]}, "latency.sites must be different names"),
    ({**SITES, "sites": [["NY"], "LON"]}, "latency.sites must be text and not empty, was ['NY']"),
    ({**SITES, "sites": "NY"}, "latency.sites must be a list, was 'NY'"),
    ({**SITES, "latency_ns": [[1, 2]]},
     "latency.latency_ns must have 2 rows of 2, one a site, had [2]"),
    ({**SITES, "latency_ns": [[1], [2]]}, "latency.latency_ns must have 2 rows of 2"),
    ({**SITES, "latency_ns": [1, 2]}, "latency.latency_ns.0 must be a list, was 1"),
    ({**SITES, "latency_ns": [[1, 2], [3, -4]]}, "latency.latency_ns.1.1 must be a number with ns"),
    ({**SITES, "exchange": "PAR"}, "latency.exchange must be one of NY, LON, was 'PAR'"),
]  # fmt: skip


@pytest.mark.parametrize("latency, error", LATENCIES)
def test_latencies(latency: dict[str, Any], error: str) -> None:
    says(error, {**MARKET, "latency": latency})
    says(f"agents.them.{error}", one({"type": "noise", "latency": latency}))


def test_sites_and_contradictory_latencies() -> None:
    says("agents.them: latency_ns and latency contradict each other: give one",
         one({"type": "noise", "latency_ns": 5, "latency": {"model": "geometry"}}))  # fmt: skip
    for latency in ({"model": "geometry"}, {"model": "constant"}, None,
                    {"model": "uniform", "low_ns": 1, "high_ns": 2}):  # fmt: skip
        says("agents.them: site is for latency model 'matrix', was 'NY'",
             one({"type": "noise", "site": "NY"}, latency=latency))  # fmt: skip
    says("agents.them: key 'site' is required: latency.sites are NY, LON",
         one({"type": "noise"}, latency=SITES))  # fmt: skip
    says("agents.them: site must be one of NY, LON, was 'TYO'",
         one({"type": "noise", "site": "TYO"}, latency=SITES))  # fmt: skip
    says("agents.them.latency_ns must be >= 0, was -1", one({"type": "noise", "latency_ns": -1}))
    says("computation_delay_ns must be >= 0, was -1", {"computation_delay_ns": -1})
    says("agents.them.computation_delay_ns must be a whole number, was 1.5",
         one({"type": "noise", "computation_delay_ns": 1.5}))  # fmt: skip


def test_bases(tmp_path: Path) -> None:
    says("unknown config 'rmsc05' (did you mean 'rmsc0", {"base": "rmsc05"})
    says("base must be text and not empty, was 4", {"base": 4})
    for name, base in (("a", "b"), ("b", "a"), ("self", "self")):
        (tmp_path / f"{name}.yaml").write_text(f"base: {tmp_path / base}.yaml\n")
    says("a.yaml' is more than 10 deep", {"base": str(tmp_path / "a.yaml")})
    says("self.yaml' is more than 10 deep", str(tmp_path / "self.yaml"))
    says("agents.valu: base has no such agent (did you mean 'value'?)",
         {"base": "rmsc04", "agents": {"valu": None}})  # fmt: skip
    says("override agents.valu: no agent 'valu' (did you mean 'value'?)", "rmsc04",
         **{"agents.valu": None})  # fmt: skip
    says(
        "agents.value: unknown key 'interval'",
        {"base": "rmsc04", "agents": {"value": {"interval": 1}}},
    )


def test_a_base_is_merged_key_by_key_but_another_type_starts_anew() -> None:
    above = {"base": "rmsc03", "agents": {"noise": {"count": 7}, "momentum": None,
                                          "value": {"type": "noise", "count": 2}}}  # fmt: skip
    config = load_config(above)
    agents = {agent.name: agent for agent in config.agents}
    assert list(agents) == ["noise", "value", "maker"]
    assert agents["noise"].count == 7 and agents["noise"].parameters["size"] == [20, 49]
    assert agents["value"].type == "noise" and not agents["value"].parameters
    assert agents["maker"].parameters["level_spacing"] == 5  # rmsc03's own base's
    assert config.oracle.volatility == 1e-3 and config.oracle.megashock_mean == 1000
    other = load_config({"base": "rmsc04", "oracle": {"type": "mean_reverting"},
                         "latency": {"model": "constant", "latency_ns": 5}})  # fmt: skip
    assert other.oracle.kappa == 1e-5 and other.latency.latency_ns == 5
    assert load_config({"base": "rmsc04", "oracle": None, "agents": {"value": None}}).oracle is None
    assert load_config({"base": "rmsc04", "name": "mine"}).name == "mine"
    world = load_config({"base": "world", "agents": {"world": {"model": "aapl"}}}).agents[0]
    assert (world.type, world.parameters["model"]) == ("world", "aapl")
    assert load_config(config).config_hash == config.config_hash


def test_a_base_can_be_overridden_from_the_command_line() -> None:
    config = load_config(
        {"agents": {"noise": {"count": 3}}}, {"base": "rmsc04", "agents.value.count": 5}
    )
    counts = {agent.name: agent.count for agent in config.agents}
    assert counts == {"noise": 3, "value": 5, "maker": 2, "momentum": 12}


def test_the_command_line_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for pair, error in (
        ("agents.noise.count=0", "agents.noise.count must be >= 1, was 0"),
        ("agents.noise.type=nois", "unknown agent 'nois' (did you mean 'noise'?)"),
        ("oracle=null", "agents.value: needs a fundamental value"),
        ("agents.maker.levels=0", "agents.maker: levels must be >= 1, was 0"),
        ("latency.model=cubik", "unknown model 'cubik' (did you mean 'cubic'?)"),
    ):
        assert main(["run", "rmsc04", "--no-report", "--set", pair]) == 2
        said = capsys.readouterr().err
        assert error in said and len(said.strip().splitlines()) == 1


NASTY: list[Any] = [
    None, True, "", "x", "1s", [], {}, [1], -1, 0, 1, 0.5, 1e-300, 1e300, -1e300, 2**53, 2**63,
    2**64, 10**30, "1e9h", "99999999999h", float("inf"), float("nan"), [[1, 2], [3, 4]], [None, {}],
    [{"lognormal": [700, 900]}], [{"normal": [1e300, 1e300]}], [1, 2**62], ["a"], "24:00",
]  # fmt: skip
SECTIONS: dict[str, dict[str, Any]] = {
    **{f"agents.{kind}": {"type": kind, **values} for kind, values in POPULATIONS.items()},
    "oracle": {"type": "sparse_mean_reverting"},
    "oracle.2": {"type": "mean_reverting"},
    "latency": {"model": "cubic", "min_latency_ns": 1000},
    "latency.2": {"model": "uniform", "low_ns": 1, "high_ns": 5},
    "latency.3": {"model": "geometry", "jitter": 0.5},
    "latency.4": SITES,
}  # fmt: skip


def keys_of(section: str) -> list[str]:
    import dataclasses
    import inspect

    from marketsim.configs.registry import resolve_agent
    from marketsim.latency import MODELS
    from marketsim.oracle import ORACLES as KINDS

    given = SECTIONS[section]
    if section.startswith("agents."):
        own = list(inspect.signature(resolve_agent(given["type"])).parameters)
        return [*own, "count", "symbol", "latency", "latency_ns", "computation_delay_ns", "site"]
    kind = KINDS[given["type"]] if "type" in given else MODELS[given["model"]]
    return [field.name for field in dataclasses.fields(kind)]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_any_value_of_any_key_runs_or_is_refused_by_name(section: str) -> None:
    """No traceback of another kind, no time that stands still, no message into the past."""
    for key in keys_of(section):
        for value in NASTY:
            agents = {name: {"type": name, **entry} for name, entry in POPULATIONS.items()}
            config: dict[str, Any] = {
                "session": {"open": "09:30", "close": "09:30:02"},
                "oracle": {"type": "mean_reverting"},
                "latency": {"model": "constant", "latency_ns": "1ms"},
            }
            given = {**SECTIONS[section], key: value}
            if section.startswith("agents."):
                agents[section.removeprefix("agents.")] = given
            else:
                config[section.partition(".")[0]] = given
            if section == "latency.4":
                agents = {name: {"site": "LON", **entry} for name, entry in agents.items()}
            if key == "count" and isinstance(value, int) and value > 10**4:
                continue  # that many agents are allowed, where there is the memory
            try:
                simulation = Simulation({**config, "agents": agents}, 1)
            except MarketSimError as error:
                assert "\n" not in str(error)
                continue
            market, code, calls = simulation._market, 0, 0
            before = simulation.start_ns
            while code != 701 and calls < 100:
                code = simulation._calls.advance(market.address, simulation.close_ns, 1000)
                calls += 1
                assert before <= simulation.now_ns, (key, value)
                before = simulation.now_ns
                if code == 703:
                    market.grow()
                elif code == 704:
                    simulation._empty_tape()
            assert code == 701 or simulation.now_ns > simulation.start_ns + 10, (key, value)
