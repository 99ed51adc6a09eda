"""The training loop, and all that it needs before, during and after."""
