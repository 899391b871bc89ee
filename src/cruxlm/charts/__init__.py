"""Numbers to SVG and to terminal tables; nothing here knows what the numbers mean."""
