"""Results as frozen plain data, with save and load; numpy only, no torch."""
