"""What visitors and people are answered."""
