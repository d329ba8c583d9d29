"""What a mirror knows and holds, in memory and in its database."""
