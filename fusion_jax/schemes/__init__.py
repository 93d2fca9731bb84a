"""Training-time mechanisms: what a step changes in its input, and in which stages it runs. One a file."""
