"""What papers say, put to the test: a study each. `python -m experiments.claims` runs them and writes the ledger."""
