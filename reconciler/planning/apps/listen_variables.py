"""The variables that are filled in in the command of a program that serves an app: where it is to listen."""

EXPANDED = ("PORT", "SOCKET", "HOST")
