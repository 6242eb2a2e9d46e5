"""One run: its context, its phases, and the pipeline pretext → transfer → downstream."""
