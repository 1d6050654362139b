"""Networks that predict absorbed dose or time-integrated activity, each beside the classical method it may replace."""
