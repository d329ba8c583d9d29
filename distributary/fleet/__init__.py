"""A whole fleet on one machine, of real processes over a real broker: for the demo and for end-to-end tests."""
