"""A tidy frame becomes a figure, a table or a number in the text."""
