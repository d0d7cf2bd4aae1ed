"""Replies of broken, lying and malicious miners, each with the outcome that is wanted of it."""
