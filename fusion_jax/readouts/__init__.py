"""Readouts: the history of a stream over depth [N, L, D] -> what the head reads. One a file; base.py is the contract."""
