"""HTTP as all three roles speak it: servers with deadlines, files with ranges, errors as JSON, who is asking."""
