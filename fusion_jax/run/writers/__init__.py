"""What is written for other programs while a study runs: one file each, the file's name is the flag."""
