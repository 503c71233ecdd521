"""Parts that agents share: advantages, adaptation, surrogates, optimisers."""
