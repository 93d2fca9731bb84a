"""What `experiments.benchmark` measures and how, an idea a file."""
