"""The command line, installed as `crosscoop_tf`."""
