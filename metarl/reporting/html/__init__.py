"""The report of runs: one HTML file with all that it shows inside, which opens without a network."""
