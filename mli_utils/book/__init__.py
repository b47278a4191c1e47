"""The notebook runner, the site, the record and the command line."""
