//! PKCS#10 (RFC 2986): certification requests, made and read.
