"""Intake of instances from the network and the web: validate, write, commit, answer."""
