"""Where visitors are."""
