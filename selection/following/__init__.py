"""The log and the load reports, read into the view."""
