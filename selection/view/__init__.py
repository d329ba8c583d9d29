"""What the events add up to: the fleet and its files."""
