//! Proofs from outside, in one binary: real processes, real TLS, real files.

mod fleet;
mod gates;
mod rotation;
