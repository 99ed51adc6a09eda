"""The weights file, and everything that becomes one or is made from one."""
