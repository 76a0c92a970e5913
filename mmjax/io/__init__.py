"""What must survive a kill: the workdir, checkpoints, the log, results."""
