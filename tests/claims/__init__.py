"""A package, so that its `conftest` does not stand in for that of all tests."""
