"""The config: where its files are, how it is checked, and the keys that identify a run."""
