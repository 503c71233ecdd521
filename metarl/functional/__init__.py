"""Mathematics as functions of tensors and arrays, without state."""
