"""What one notebook alone needs, in a module that has that notebook's name."""
