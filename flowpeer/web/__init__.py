"""The explorer: pages over the answers and tables of one network, to look before one asks.

It reads only, and knows the application by `flowpeer.api` alone. A request goes through the guard
(`guard`: who may ask, headers), its query string becomes a `View` (`view`: the whole state of a
page is in its URL), the page or the API names tables (`tables`: `answers` and statements), and
these come from the reader (`reader`: one answer for all who ask, kept until the lake changes).
Starlette, Jinja2 and uvicorn are the extra `[serve]`; htmx and ECharts lie in static/vendor as npm
delivers them.
"""
