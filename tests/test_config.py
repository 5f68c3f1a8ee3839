"""Configurations: what they accept, what they refuse, and the words in which they do."""

import json
from pathlib import Path
from typing import Any

import pytest

from marketsim.clock import format_time, parse_span, parse_time
from marketsim.codes import SelfTrade
from marketsim.configs import SimulationConfig, SymbolConfig, config_names, load_config
from marketsim.errors import ConfigError

EXECUTION = "marketsim.agents.execution:ExecutionAgent"
POV = {
    "type": "pov",
    "side": "buy",
    "participation": 0.1,
    "quantity": 1000,
    "start": "09:45",
    "end": "15:45",
}


def with_agents(**agents: Any) -> dict[str, Any]:
    return {"agents": agents}


@pytest.fixture
def own_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Type of an agent class of the user's own."""
    (tmp_path / "users_agents.py").write_text(
        "from marketsim.agent import Agent\n"
        "from marketsim.errors import ConfigError\n"
        "class Shy(Agent):\n"
        "    def __init__(self, patience, words=()):\n"
        "        super().__init__()\n"
        "        if patience < 0:\n"
        "            raise ConfigError(f'patience must be >= 0, was {patience}')\n"
        "        self.patience, self.words = patience, words\n"
        "class Reader(Agent):\n"
        "    def __init__(self, tape):\n"
        "        super().__init__()\n"
        "        self.tape = tape\n"
        "class Loose(Agent):\n"
        "    def __init__(self, **anything):\n"
        "        super().__init__()\n"
        "        self.anything = anything\n"
        "class Other: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "users_agents:Shy"


def test_defaults_without_any_key() -> None:
    config = load_config({})
    assert config.name == "custom"
    assert config.symbols == (SymbolConfig("SIM", 0.01, 1),)
    assert (config.session.open_ns, config.session.close_ns) == (
        parse_time("09:30"),
        parse_time("16:00"),
    )
    assert config.exchange.self_trade is SelfTrade.ALLOW
    assert (config.tape.enabled, config.tape.levels) == (True, 10)
    assert config.agents == ()


def test_symbols_and_session_are_the_datas_where_there_is_data() -> None:
    config = load_config({"data": "FILE"})
    assert config.symbols == ()
    assert (config.session.open_ns, config.session.close_ns) == (None, None)
    assert load_config({"data": "F", "session": {"close": "12:00"}}).session.open_ns is None


def test_every_packaged_configuration_loads_and_goes_round() -> None:
    assert {"demo", "replay"} <= set(config_names())
    for name in config_names():
        config = load_config(name, overrides={"data": "synthetic"})
        assert config.name == name
        assert config.description
        again = load_config(json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert again.config_hash == config.config_hash


def test_round_trip_keeps_everything(own_agent: str) -> None:
    raw = {
        "name": "all",
        "description": "every key",
        "data": "FILE",
        "symbols": [{"name": "A", "tick_size": 0.5, "lot_size": 10}, {"name": "B"}],
        "session": {"open": "09:30:00.000000001", "close": "24:00"},
        "exchange": {
            "maker_fee_bps": -0.2,
            "taker_fee_bps": 0.3,
            "maker_fee_ticks_per_lot": 1,
            "taker_fee_ticks_per_lot": 2.5,
            "self_trade": "cancel_both",
        },
        "tape": {"enabled": False, "levels": 3},
        "agents": {
            "shy": {
                "type": own_agent,
                "symbol": "B",
                "latency_ns": 5,
                "computation_delay_ns": 6,
                "count": 7,
                "patience": 8,
                "words": ["a", {"b": None}],
            }
        },
    }
    config = load_config(raw)
    assert config.session.open_ns == parse_time("09:30") + 1
    assert config.exchange.self_trade is SelfTrade.CANCEL_BOTH
    assert config.exchange.maker_fee_bps == -0.2
    assert config.agents[0].parameters == {"patience": 8, "words": ["a", {"b": None}]}
    assert load_config(config.to_dict()) == config
    assert load_config(config) == config
    assert load_config({**raw, "name": "other"}).config_hash != config.config_hash


def test_hash_knows_the_order_of_agents_and_of_nothing_else() -> None:
    config = load_config(with_agents(a=POV, b=POV))
    turned = {key: POV[key] for key in reversed(POV)}
    assert load_config(with_agents(a=turned, b=POV)).config_hash == config.config_hash
    assert load_config(with_agents(b=POV, a=POV)).config_hash != config.config_hash


def test_file_by_path_in_yaml_and_json(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("session: {open: 10:30, close: 11:00:00.5}\ntape: {levels: 05}\nname: no\n")
    config = load_config(str(file))
    assert config.session.open_ns == parse_time("10:30")  # YAML 1.1 would read 630
    assert config.session.close_ns == parse_time("11:00:00.5")
    assert config.tape.levels == 5
    assert config.name == "no"
    as_json = tmp_path / "config.json"
    as_json.write_text(json.dumps(config.to_dict()))
    assert load_config(as_json) == config
    file.write_text("")
    assert load_config(file).name == "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tape: {levels: 1\n", "line 2: not valid YAML"),
        ("data: a\ndata: b\n", "line 2: not valid YAML: key 'data' is given twice"),
        ("- a\n- b\n", "must hold keys and values, was list"),
        ("just text", "must hold keys and values, was str"),
        ("1: 2", "keys must be text, was 1"),
        ("data: !!python/object:os.system {}", "not valid YAML"),
        ("exchange: &x {a: *x}", "unknown key|contains itself|not valid YAML"),
    ],
)
def test_broken_files(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot read .*No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        load_config(tmp_path / "binary.yaml")
    (tmp_path / "half.json").write_text('{"data": ')
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_config(tmp_path / "half.json")


def test_unknown_configuration_name() -> None:
    with pytest.raises(ConfigError) as error:
        load_config("dmo")
    assert "unknown config 'dmo' (did you mean 'demo'?); known: crypto, demo" in str(error.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"agent": {}}, "unknown key 'agent' (did you mean 'agents'?)"),
        ({"tape": {"level": 5}}, "tape: unknown key 'level' (did you mean 'levels'?)"),
        ({"session": {"opens": 1}}, "session: unknown key 'opens' (did you mean 'open'?)"),
        ({"exchange": {"xyz": 1}}, "exchange: unknown key 'xyz' (known: auction_fee_bps,"),
        ({"symbols": [{"tick": 1}]}, "symbols.0: unknown key 'tick' (did you mean 'tick_size'?)"),
        ({"symbols": []}, "symbols must be a list of at least one symbol, was []"),
        ({"symbols": [{"name": 600519}]}, "symbols.0.name must be text and not empty, was 600519"),
        ({"symbols": [{"tick_size": 0}]}, "symbols.0.tick_size must be > 0, was 0"),
        ({"symbols": [{"lot_size": -1}]}, "symbols.0.lot_size must be > 0, was -1"),
        ({"symbols": [{"name": "A"}, {"name": "A"}]}, "symbols.1.name must be given once"),
        ({"tape": {"levels": 0}}, "tape.levels must be >= 1, was 0"),
        ({"tape": {"levels": 2.5}}, "tape.levels must be a whole number, was 2.5"),
        ({"tape": {"levels": True}}, "tape.levels must be a whole number, was True"),
        ({"tape": {"enabled": "yes"}}, "tape.enabled must be true or false, was 'yes'"),
        ({"tape": 5}, "tape must be a mapping of keys to values, was 5"),
        ({"exchange": {"taker_fee_bps": "1"}}, "exchange.taker_fee_bps must be a finite number"),
        (
            {"exchange": {"maker_fee_bps": float("nan")}},
            "exchange.maker_fee_bps must be a finite number, was nan",
        ),
        (
            {"exchange": {"self_trade": "cancel"}},
            "exchange.self_trade must be one of allow, cancel_taker, cancel_maker, cancel_both,"
            " decrement, was 'cancel'",
        ),
        ({"session": {"open": "9h30"}}, "session.open must be HH:MM[:SS[.fraction]] up to 24:00"),
        (
            {"session": {"open": "12:00", "close": "11:00"}},
            "session.close must be later than session.open 12:00, was 11:00",
        ),
        ({"session": {"open": "17:00"}}, "session.close must be later than session.open 17:00"),
        ({"data": 5}, "data must be text and not empty, was 5"),
        ({"data": object()}, "config.data must be plain text, a number, a list or a mapping"),
        (with_agents(pov={**POV, "participaton": 1}), "agents.pov: unknown key 'participaton'"),
        (with_agents(pov={**POV, "lateny_ns": 1}), "(did you mean 'latency_ns'?)"),
        (with_agents(pov={"type": "pvo"}), "agents.pov.type: unknown agent 'pvo' (did you mean"),
        (with_agents(pov={"side": "buy"}), "agents.pov: key 'type' is required"),
        (with_agents(me={"type": EXECUTION}), "agents.me: key 'side' is required"),
        (with_agents(pov={**POV, "latency_ns": -1}), "agents.pov.latency_ns must be >= 0, was -1"),
        (with_agents(pov={**POV, "count": 0}), "agents.pov.count must be >= 1, was 0"),
        (with_agents(pov={**POV, "symbol": "SIN"}), "agents.pov.symbol: unknown symbol 'SIN' (did"),
        (with_agents(**{"a.b": POV}), "agents: a name must be letters, digits, _ and -, was 'a.b'"),
        (with_agents(me={"type": "no_such_module:A"}), "agents.me.type: cannot import"),
        (with_agents(me={"type": "json:Decoder"}), "no class 'Decoder' in 'json'"),
        (with_agents(me={"type": "json:JSONDecoder"}), "must be a subclass of marketsim.Agent"),
        (with_agents(history={"type": "replay"}), "data must be given for agents.history"),
    ],
)
def test_refusals_name_field_rule_and_value(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(raw)
    assert message in str(error.value)


def test_mapping_that_contains_itself() -> None:
    raw: dict[str, Any] = {}
    raw["agents"] = raw
    with pytest.raises(ConfigError, match="contains itself"):
        load_config(raw)


def test_misspelt_parameter_gets_the_hint_of_the_classes_signature() -> None:
    with pytest.raises(ConfigError) as error:
        load_config(with_agents(pov={**POV, "participaton": 1}))
    assert str(error.value) == (
        "agents.pov: unknown key 'participaton' (did you mean 'participation'?)"
    )


def test_build_makes_the_agent_and_says_whose_value_is_wrong(own_agent: str) -> None:
    words = ["a"]
    shy = load_config(with_agents(shy={"type": own_agent, "patience": 3, "words": words})).agents[0]
    agent: Any = shy.build(tape="ignored by this class")
    assert (agent.patience, agent.words) == (3, ["a"])
    agent.words.append("b")
    assert shy.parameters["words"] == ["a"]  # agents do not share what they change
    bad = load_config(with_agents(shy={"type": own_agent, "patience": -1})).agents[0]
    with pytest.raises(ConfigError) as error:
        bad.build()
    assert str(error.value) == "agents.shy: patience must be >= 0, was -1"


def test_what_the_simulation_provides_is_no_key(own_agent: str) -> None:
    reader = load_config(with_agents(r={"type": "users_agents:Reader"})).agents[0]
    made: Any = reader.build(tape="the tape")
    assert made.tape == "the tape"
    with pytest.raises(ConfigError, match="agents.r: unknown key 'tape'"):
        load_config(with_agents(r={"type": "users_agents:Reader", "tape": "x"}))
    loose = load_config(with_agents(l={"type": "users_agents:Loose", "any": 1})).agents[0]
    made = loose.build(tape="not asked for")
    assert made.anything == {"any": 1}


def test_overrides() -> None:
    config = load_config(
        {"agents": {"pov": POV, "second": POV}},
        overrides={
            "agents.pov.participation": "0.25",
            "agents.pov.start": "10:30",
            "agents.second": None,
            "agents.third": "{type: pov, side: sell, participation: 0.1, quantity: 5,"
            " start: '10:00', end: '11:00'}",
            "session.open": "10:00",
            "exchange.self_trade": "decrement",
            "symbols": [{"name": "A"}],
            "symbols.0.tick_size": "5e-2",
            "tape.levels": 5,
            "data": "12",
        },
    )
    pov, third = config.agents
    assert pov.parameters["participation"] == 0.25
    assert pov.parameters["start"] == "10:30"
    assert third.parameters["side"] == "sell"
    assert config.session.open_ns == parse_time("10:00")
    assert config.exchange.self_trade is SelfTrade.DECREMENT
    assert config.symbols[0].tick_size == 0.05
    assert config.tape.levels == 5
    assert config.data == "12"


def test_overrides_leave_the_given_mapping_alone() -> None:
    raw = {"agents": {"pov": dict(POV)}}
    load_config(raw, overrides={"agents.pov.quantity": 5, "tape.levels": 2})
    assert raw == {"agents": {"pov": POV}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tape.level", 5, "tape: unknown key 'level' (did you mean 'levels'?)"),
        ("agnts.pov", 5, "unknown key 'agnts' (did you mean 'agents'?)"),
        ("agents.pvo.quantity", 5, "override agents.pvo.quantity: no agent 'pvo' (did you mean"),
        ("agents.pvo", None, "override agents.pvo: no agent 'pvo' (did you mean 'pov'?)"),
        ("agents.pov.quantty", 5, "agents.pov: unknown key 'quantty' (did you mean 'quantity'?)"),
        ("name.first", 5, "override: name is a value, it has no keys"),
        ("tape..levels", 5, "override 'tape..levels': a key is empty"),
        ("symbols.1.tick_size", 5, "'1' must be a position from 0 to 0"),
        ("tape.levels", "[1", "override tape.levels=[1: not valid YAML"),
        ("tape.levels", "many", "tape.levels must be a whole number, was 'many'"),
    ],
)
def test_refused_overrides(path: str, value: Any, message: str) -> None:
    raw = {"name": "x", "symbols": [{"name": "A"}], "agents": {"pov": POV}}
    with pytest.raises(ConfigError) as error:
        load_config(raw, overrides={path: value})
    assert message in str(error.value)


def test_configuration_is_frozen() -> None:
    config = load_config({})
    assert isinstance(config, SimulationConfig)
    with pytest.raises(AttributeError):
        config.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("00:00", 0),
        ("9:30", 34_200 * 10**9),
        ("09:30:00.5", 34_200_500_000_000),
        ("23:59:59.999999999", 86_400 * 10**9 - 1),
        ("24:00", 86_400 * 10**9),
        (17, 17),
    ],
)
def test_times(text: str | int, time_ns: int) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.parametrize("text", ["", "930", "24:01", "10:60", "10:30:00.", -1, 1.5, True, None])
def test_refused_times(text: Any) -> None:
    with pytest.raises(ConfigError, match="start must be HH:MM"):
        parse_time(text, "start")


def test_times_as_text_and_back() -> None:
    assert format_time(parse_time("09:05:07.0429")) == "09:05:07.042"
    assert format_time(parse_time("24:00")) == "24:00:00.000"


def test_spans() -> None:
    assert parse_span("60s") == parse_span("1min") == 60 * 10**9
    assert (parse_span("1.5 ms"), parse_span("7ns"), parse_span(3)) == (1_500_000, 7, 3)
    for value in ("60", "s", "1 day", -1, True, 0.5):
        with pytest.raises(ConfigError, match="interval must be a number with ns"):
            parse_span(value, "interval")  # type: ignore[arg-type]
