"""Losses: (output, target, weight) -> scalar. One function a file, named like it; base.py is the contract."""
