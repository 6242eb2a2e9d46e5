"""The config: where its files are, its validation, and the keys that identify a run."""
