"""Routes as one trie a family: what covers a prefix, what it covers, and single questions.

Bulk work is done on compiled arrays (flowpeer.routing.rib.match), which are the trie's equals by a
property test. A trie of a full table takes about a second to build, so it is kept with its table.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from pytricia import PyTricia  # type: ignore[import-not-found, unused-ignore]

from flowpeer_core.addresses import parse


class Trie:
    """Prefix texts, all different, in pytricia tries; answers are their places as given.

    Default routes match nothing (METHODS M4).
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._four, self._six = PyTricia(32), PyTricia(128)
        for place, prefix in enumerate(prefixes):
            if not prefix.endswith("/0"):
                (self._six if ":" in prefix else self._four)[prefix] = place

    def _trie(self, text: str) -> PyTricia:
        return self._six if ":" in text else self._four

    def lookup(self, address: str) -> int | None:
        """The longest prefix over an address; None where there is none.

        Raises:
            ValueError: not an address.
        """
        text = str(parse(address))
        found: int | None = self._trie(text).get(text)
        return found

    def covering(self, prefix: str) -> list[int]:
        """Routes that contain `prefix`, itself included if it is one, longest first."""
        network = str(ip_network(prefix))
        trie = self._trie(network)
        found: list[int] = []
        at = network if trie.has_key(network) else trie.get_key(network)
        while at is not None:
            found.append(trie[at])
            at = trie.parent(at)
        return found

    def covered(self, prefix: str) -> list[int]:
        """Routes inside `prefix`, itself included if it is one, by their places."""
        network = str(ip_network(prefix))
        if network.endswith("/0"):  # the whole family
            trie = self._trie(network)
            return sorted(trie[key] for key in trie)
        trie = self._trie(network)
        if trie.has_key(network):
            inside = [network, *trie.children(network)]
        else:
            trie.insert(network, None)
            try:
                inside = list(trie.children(network))
            finally:
                trie.delete(network)
        return sorted(trie[key] for key in inside)
