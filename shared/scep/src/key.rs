//! RSA keys: made, stored, signing and decrypting.
