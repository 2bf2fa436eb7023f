"""One module a library, with one function a role: the first role listens, ``sender`` drives the clock."""
