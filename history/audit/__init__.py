"""What can be proved of a log: that it is whole and unchanged, and that each decision follows from it."""
