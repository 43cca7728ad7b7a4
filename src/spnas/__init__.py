"""Search a detection backbone for your own data and budget (SP-NAS), and learn honestly whether it paid.

`from spnas import tasks` gives the verbs of the command as functions.
"""
