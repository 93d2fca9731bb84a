"""Encoders: the raw features of one modality [N, d_m] -> [N, D]. One a file; base.py is the contract."""
