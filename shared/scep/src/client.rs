//! The client's side of an exchange: what to send next, given what came.
