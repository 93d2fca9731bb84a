"""Merging: one network from the seeds of a finished cell. One mechanism a file."""
