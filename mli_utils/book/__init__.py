"""Runs notebooks, renders the site, keeps the record; the command line."""
