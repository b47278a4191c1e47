"""What the book claims, what was found, the ledger."""
