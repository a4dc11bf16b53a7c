"""The names that Flower looks for; what they stand for is installed at every site."""
