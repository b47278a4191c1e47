"""Helpers of single notebooks, one module per notebook, named after it."""
