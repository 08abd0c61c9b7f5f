"""What fields of recorded settings are called today, so that numbers recorded earlier can be compared."""


def renamed(settings):
    """Settings as they were first recorded, in today's names."""
    return settings
