"""Graph layers: nodes [N, D] and an edge set -> [N, D]. One layer a file; base.py is the contract."""
