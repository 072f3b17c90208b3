//! pkiMessage (RFC 8894 section 3): its attributes, types and states.
