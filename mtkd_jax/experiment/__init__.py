"""From a config to a finished run, and from its folders to numbers: what the commands call, and anyone may."""
