"""The log as ops read it: from the broker, from an export, from the archive; replayed, audited, explained and kept.

It stands above the services, because it makes their decisions again with their own code, and below the command line.
Nothing here is needed to serve a visitor.
"""
