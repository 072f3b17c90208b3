//! A parsed X.509 certificate: what SCEP asks of it, and whether another one issued it.
