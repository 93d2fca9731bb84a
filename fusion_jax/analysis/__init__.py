"""Analysis of a finished cell. One mechanism a file."""
