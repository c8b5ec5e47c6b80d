"""BGP: messages, path attributes, and routes as sessions leave them."""
