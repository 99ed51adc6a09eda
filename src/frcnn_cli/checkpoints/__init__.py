"""Reading and writing weights files, and converting them from and to other formats."""
