"""Figures, tables and numbers in the text, made from tidy frames."""
