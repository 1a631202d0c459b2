"""The user's code: which of it a node uses, its fingerprint, the zip that carries it, loading it again."""
