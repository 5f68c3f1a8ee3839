"""Gymnasium environments: a learning agent in any market that the simulator can run."""
