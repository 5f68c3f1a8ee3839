"""The tables of a paper on one's own data: generators, agent-based markets and real data."""
