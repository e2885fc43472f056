"""What conditional commit costs: our batch beside what people run without it, and beside 2PC by hand."""
