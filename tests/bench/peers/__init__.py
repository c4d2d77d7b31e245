"""Other servers, from package registries."""

from servers import Server

PEERS: tuple[Server, ...] = ()
