"""The study `spectral_insights`: the claims of Liu et al. 2025, with the controls they lacked."""
