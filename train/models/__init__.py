"""The networks, and how their files are written and read."""
