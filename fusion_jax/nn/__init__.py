"""Pieces that two or more mechanisms use."""
