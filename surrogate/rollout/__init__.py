"""Rolling a learned model out from frame to frame."""
