"""Tools that the project's own files are made with; the package does not need them."""
