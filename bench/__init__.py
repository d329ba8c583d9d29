"""Benchmarks: ``python -m bench NAME`` prints a table and, last, one line with the figure and its goal.

It exits 0 only where the goal holds. A benchmark is a module here with ``async def measure() -> Verdict``.
"""
