"""Accounts: people, passwords, sessions, tokens, identity providers."""
