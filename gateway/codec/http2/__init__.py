"""HTTP/2 on two engines that say the same: ngh2 (libnghttp2) where it has a wheel, and h2 everywhere else.

`engine` takes one of them. Each is two modules: a session knows the streams and makes events of what the peer sends,
the codec on it takes commands and makes bytes. They share `message` (header blocks) and `frames`.
"""
