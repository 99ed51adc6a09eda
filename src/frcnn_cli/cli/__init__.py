"""The command line: one command a file; they parse, call the engine, and print."""
