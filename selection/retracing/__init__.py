"""Recorded decisions, made again from the log (ADR 21). Pure."""
