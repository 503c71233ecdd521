"""Task distributions of environments of one's own."""
