"""HTTP/1.1 on the wire: how many connections there are, how long each may take, and what is a request. No route."""
