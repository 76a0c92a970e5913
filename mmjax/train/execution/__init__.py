"""Which device, which thread, how many steps a dispatch, when compiled."""
