"""Accounts: users, passwords, sessions, tokens and identity providers."""
