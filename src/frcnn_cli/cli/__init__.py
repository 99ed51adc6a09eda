"""The command line: a module for each command, which parses options, calls the other packages and
prints."""
