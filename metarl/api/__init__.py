"""What a script or a notebook calls: train, load, evaluate; ``import metarl`` offers it."""
