"""What a person runs: one file a command, each with `main(arguments) -> exit code`."""
