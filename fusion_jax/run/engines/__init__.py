"""What runs many cells: one file each, the file's name is the engine's."""
