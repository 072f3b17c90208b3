//! What both sides of a Convoy fleet must agree on: identifiers, the trust document and its verdict, signatures, acknowledgments.
//!
//! Nothing here does I/O, reads a clock or starts a task: bytes and the time are arguments.

pub mod ack;
pub mod address;
pub mod certificate;
pub mod enrolment;
pub mod envelope;
pub mod id;
pub mod label;
pub mod proof;
pub mod root;
pub mod schedule;
pub mod secret;
pub mod settings;
pub mod token;
pub mod trust;
