"""Routes as one trie a family: the reference of the compiled match, and single questions."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from pytricia import PyTricia  # type: ignore[import-not-found, unused-ignore]

from flowpeer_core.addresses import parse


class Trie:
    """Prefix texts in pytricia tries; answers are the texts as given.

    Default routes match nothing (METHODS M4).
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._four, self._six = PyTricia(32), PyTricia(128)
        for prefix in prefixes:
            if not prefix.endswith("/0"):
                (self._six if ":" in prefix else self._four)[prefix] = prefix

    def _trie(self, text: str) -> PyTricia:
        return self._six if ":" in text else self._four

    def lookup(self, address: str) -> str | None:
        """The longest prefix over an address; None where there is none.

        Raises:
            ValueError: not an address.
        """
        text = str(parse(address))
        found: str | None = self._trie(text).get(text)
        return found

    def covering(self, prefix: str) -> list[str]:
        """Routes that contain `prefix`, itself included if it is one, longest first."""
        network = str(ip_network(prefix))
        trie = self._trie(network)
        found: list[str] = []
        at = network if trie.has_key(network) else trie.get_key(network)
        while at is not None:
            found.append(trie[at])
            at = trie.parent(at)
        return found

    def covered(self, prefix: str) -> list[str]:
        """Routes inside `prefix`, itself included if it is one, in the order of the addresses."""
        network = str(ip_network(prefix))
        trie = self._trie(network)
        if trie.has_key(network):
            inside = [network, *trie.children(network)]
        else:
            trie.insert(network, network)
            try:
                inside = list(trie.children(network))
            finally:
                trie.delete(network)
        found: list[str] = [trie[key] for key in inside]
        return sorted(found, key=lambda text: (ip_network(text).network_address, text))
