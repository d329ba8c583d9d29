"""The mirror: follows channels, fetches and verifies files, serves them to visitors who were granted leave."""
