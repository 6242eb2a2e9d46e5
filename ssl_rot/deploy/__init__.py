"""A trained classifier for use elsewhere: rebuilt from its run, exported, logged, registered."""
