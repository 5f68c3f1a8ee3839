"""Names of the environments, as gymnasium knows them."""

from gymnasium.envs.registration import register, registry

#: Name -> module and class of the environment; its native vector environment is beside it.
ENVIRONMENTS = {
    "marketsim/Execution-v0": "marketsim.envs.execution:Execution",
    "marketsim/Investor-v0": "marketsim.envs.investor:Investor",
    "marketsim/MarketMaking-v0": "marketsim.envs.market_making:MarketMaking",
    "marketsim/Portfolio-v0": "marketsim.envs.portfolio:Portfolio",
}


def register_environments() -> None:
    """Tell gymnasium; importing ``marketsim`` does it."""
    for name, place in ENVIRONMENTS.items():
        if name not in registry:
            register(id=name, entry_point=f"{place}Env", vector_entry_point=f"{place}VectorEnv")
