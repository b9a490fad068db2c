"""What label maps hold: class ids from 0 up, and void."""

VOID = 255  # pixels that count nowhere: not in the loss, not in a metric
NO_CLASS = 254  # what no class has for its id, so that there are at most this many
