"""How fast the package is: against the alternatives, and against what the machine can do.

`make bench` runs them all; the book's page on speed shows what came of it.
"""
