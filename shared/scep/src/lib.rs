//! SCEP (RFC 8894), client and server, sans-IO: bytes and the time are arguments, and what to send or to issue is returned.
//!
//! Nothing here opens a socket, reads a clock, sleeps or starts a task, and nothing here panics on any input.

pub mod algorithm;
pub mod ber;
pub mod certificate;
pub mod client;
pub mod cms;
pub mod http;
pub mod issue;
pub mod key;
pub mod message;
pub mod request;
pub mod server;
