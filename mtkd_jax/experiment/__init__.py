"""From a config to a finished run, and from its folders to numbers: the functions behind the commands."""
