"""What the operator decides at run time, and what he sees."""
