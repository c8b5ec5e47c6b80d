"""Roles of interfaces (METHODS M1)."""

from __future__ import annotations

EXTERNAL_ROLES = ("transit", "peer", "ix", "customer")
"""Roles of interfaces to other networks; traffic is counted where it crosses one of them."""
CONFIGURED_ROLES = (*EXTERNAL_ROLES, "internal")
"""Roles that a configuration gives."""
ROLES = (*CONFIGURED_ROLES, "unknown", "discarded", "set_aside")
"""Every value of `traffic.role`."""
