"""A study's rows as files: one form a file, all from the same `table.Table`."""
