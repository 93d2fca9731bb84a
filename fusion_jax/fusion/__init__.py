"""Fusions: x [N, M, D], mask [N, M] -> one vector a node. One mechanism a file; base.py is the contract."""
