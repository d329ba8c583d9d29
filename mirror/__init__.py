"""The mirror: follows its channels, fetches and verifies what is in them, serves it to visitors with a grant.

``app`` composes; ``web``, ``store``, ``objects``, ``origin`` and ``keeper`` touch the world; ``plan``, ``quota``,
``slots`` and ``request`` decide and are pure.
"""
