"""The command line: one file a command, one call each."""
