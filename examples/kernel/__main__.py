"""``python -m examples.kernel``: everything on this machine."""

import sys

if sys.platform == "win32":
    sys.exit("kernels need signals and process groups as Linux and macOS have them")
else:
    from .main import main

    main()
