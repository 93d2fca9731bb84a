"""Readouts: a stream's states over depth [N, L, D] -> what the head reads. One a file; base.py is the contract."""
