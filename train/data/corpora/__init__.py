"""The data sets of the paper, as their owners publish them."""
