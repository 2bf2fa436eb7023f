"""``python -m examples.kernel``: everything on this machine."""

from .main import main

main()
