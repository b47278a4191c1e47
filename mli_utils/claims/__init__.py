"""The book's claims, their verdicts and the ledger."""
