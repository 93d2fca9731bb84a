"""The contract of an analysis: a finished cell, one of its seeds and what is asked -> tables.

An analysis is a function `name(cell, seed_place, <question>, *, <options>)` in the file of that name, which reads
a `results.restore.Restored` cell, trains nothing of it, and returns a record with data frames.
"""
