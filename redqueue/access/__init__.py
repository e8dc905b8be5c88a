"""Who may do what: users, their passwords and roles, and the patterns of the queues that these hold for.

Knows neither sockets nor the protocol. :mod:`redqueue.access.users` reads the
file of the users; :mod:`redqueue.access.authenticator` checks passwords in a
thread, since that is made to take long.
"""
