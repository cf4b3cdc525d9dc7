"""What all tests share."""

from hypothesis import settings

# Tests say what is right, never how fast: a busy machine or a kernel that is compiled first must not fail them.
settings.register_profile("eventsnn", deadline=None)
settings.load_profile("eventsnn")
