"""From settings to what each service is told; a module for each, since one role must not pay for another's imports."""
