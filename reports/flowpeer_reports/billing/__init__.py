"""Contracts, their months and what they cost (METHODS M5, M8).

`terms` holds what a contract says and what a rate costs under it; `months` the calendar months of
its time zone; `octets` what crossed its links in every slot; `rate` the billed rate; `bills` the
answer. Amounts are exact fractions until they are printed, rounded half up, once.
"""
