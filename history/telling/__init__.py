"""What an entry of the log says: to people as a line, to programs as an object; and what a view of it says."""
