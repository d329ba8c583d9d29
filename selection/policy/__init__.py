"""From a view and a visitor to a mirror."""
