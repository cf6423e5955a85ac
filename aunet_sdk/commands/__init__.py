"""What stands behind the `aunet` command: one module per subcommand."""
