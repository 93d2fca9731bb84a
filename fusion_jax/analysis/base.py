"""The contract of an analysis: a finished cell or a finished study -> a `Report`: tables, figures, one sentence.

An analysis is a function in the file of its name, which says what it is of:

    OF = "cell"     name(cell, place, *, <options>) -> Report; `cell` is a `results.restore.Restored`, `place` the
                    position of one of its seeds
    OF = "study"    name(store, *, <options>) -> Report; `store` is the study's `results.store.Store`

    CHECKED_WITH = {"model.fusion.name": "visor"}    optional: keys of a cell it looks at, if it is not for every cell;
                                                     of an analysis of a study a tuple of them, a cell each

Every option is a keyword with a default. An analysis trains nothing of what it reads, changes none of its files, and
gives the same tables when it is asked again. What it cannot look at it refuses by name (ValueError).
`fusion_jax.analysis.analyse` asks one and writes what it finds.
"""

from fusion_jax.results.answers import Report

__all__ = ["SUBJECTS", "Report"]

SUBJECTS = ("cell", "study")
