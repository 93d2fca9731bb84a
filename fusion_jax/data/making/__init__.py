"""Data sets from what a user has: tables, arrays, a networkx graph, MuData. `Dataset.from_tables` and its like.

`tables.py` is the way through: read (`reading`), join by id (`ids`, `joining`), make features, target, splits and edge
sets of what was joined (`columns`, `targets`, `parts`, `edges`), look for mistakes (`doubts`), say it all (`report`).
"""
