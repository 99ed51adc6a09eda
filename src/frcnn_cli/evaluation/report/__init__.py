"""The report of an evaluation: an HTML page, and its curves as files."""
