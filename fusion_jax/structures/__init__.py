"""Structures: what is made once from an edge set, on the host. One a file; base.py is the contract."""
