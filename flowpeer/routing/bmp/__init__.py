"""BMP: what routers tell of their peers, from captures and live."""
