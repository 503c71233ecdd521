"""Task distributions (suites) and the engines that step them."""
