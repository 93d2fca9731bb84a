"""Training: all seeds of a cell in one compiled program."""
