//! What a CA makes: certificates and revocation lists.
