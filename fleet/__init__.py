"""What we know and what we advise: pure functions on columns, standard library and numpy only.

Nothing here reads a clock, a file or a socket, sleeps, draws a random number or logs; `now_s` is an argument.
A newcomer who has read this package understands the other rooms by their names.
"""
