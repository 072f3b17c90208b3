//! The agent of a Convoy fleet: one light process on every managed host. It obeys signed documents, and never decides what a
//! fleet is to trust.
//!
//! ```text
//! run ─ session ─┬─ hello, greet      what is said first, and the proof that must come back
//!                ├─ reconcile         pure: (desired, what is on disk, now) -> step
//!                ├─ check             probe and decoy on fresh connections
//!                ├─ renew             a new identity certificate for the same key
//!                └─ link ─ tls ─ verifier ─ shared::trust::verdict
//! join, status   state ─ key ─ disk
//! scep           certificates from a SCEP server ─ configuration, place
//! ```
//!
//! The integration tests build misbehaving agents from the public pieces: [`link::Link`], [`tls::Tls`], [`verifier::Policy`],
//! [`state::State`], [`hello::hello`], [`check::handshake`].

pub mod backoff;
pub mod check;
mod cli;
pub mod clock;
pub mod configuration;
pub mod disk;
pub mod greet;
pub mod hello;
pub mod join;
pub mod key;
pub mod link;
pub mod place;
pub mod reconcile;
pub mod refusal;
pub mod renew;
pub mod run;
mod scep;
pub mod session;
pub mod state;
pub mod status;
pub mod tls;
pub mod verifier;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod stories;

pub use cli::main;
pub use convoy_shared::address;

/// This agent's version, as it says in each hello.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
