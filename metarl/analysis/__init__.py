"""Looking inside an adaptation: what it moved in a policy, and which of it matters."""
