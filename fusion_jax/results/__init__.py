"""Store, statistics and tables of a study."""
