"""flows × routes × network → traffic."""
