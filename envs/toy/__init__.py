"""Small suites for tests and first steps."""
