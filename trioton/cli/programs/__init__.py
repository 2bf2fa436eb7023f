"""Programs for `trioton demo` to run. They are started as files and not imported."""
