"""Serves visitors and other mirrors within the operator's limits, and counts what left."""
