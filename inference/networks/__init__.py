"""Networks in PyTorch, their attention and explanations."""
