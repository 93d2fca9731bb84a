"""What a terminal shows of a study while it runs: one file each, the file's name is the value of `--display`."""
