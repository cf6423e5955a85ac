"""The paper's experiments: its runs, tables and figures, and the figures that it prints."""
