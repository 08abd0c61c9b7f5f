"""Training: one state, one step, one loop."""
