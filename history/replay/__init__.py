"""From entries to what was known at a moment: the fleet as the log up to there makes it."""
