"""One loop per file. Nothing here parses arguments or prints."""
