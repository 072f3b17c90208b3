//! The server's side of an exchange: a request out of bytes, and the reply to it.
