"""Networks for images: each trained on the virtual scanner, beside the classical method that it may replace."""
