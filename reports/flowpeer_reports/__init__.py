"""Tables in, answers and documents out: peering candidates and transit imbalance.

Pure functions over frames. Nothing here knows a lake, a configuration file, the network, the
clock or the locale.
"""
