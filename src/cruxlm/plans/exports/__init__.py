"""Plans as files for other tools, one file a tool."""
