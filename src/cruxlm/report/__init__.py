"""HTML pages made from results: one self-contained file each."""
