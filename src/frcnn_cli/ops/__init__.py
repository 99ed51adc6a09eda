"""Arrays and tensors in, arrays and tensors out; nothing of files, models or settings."""
