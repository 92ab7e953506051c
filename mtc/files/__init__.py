"""Files and directories: atomic writes, locks, caches and names that every library takes literally."""
