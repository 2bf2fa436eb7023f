"""A Python kernel, a broker that looks after it, and clients: see README.md. Start it with ``python -m examples.kernel``."""
