"""Environments in which reinforcement-learning agents trade, to Gymnasium's contract."""
