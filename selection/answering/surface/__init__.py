"""What the selector answers beside redirects: metalinks, hashes, lists, pages, the peers' JSON and its own API."""
