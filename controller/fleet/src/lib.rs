//! The pure fleet: what happened, what follows from it, and what may happen next.
//!
//! State is the fold of events. [`decide()`](decide::decide) turns a command into events or a refusal, [`Fleet::fold`](state::Fleet::fold) takes them in,
//! and [`due`](rotation::due) says what is to be done. Nothing here does I/O, reads a clock, draws a random number or starts a task.

pub mod client;
pub mod clock;
pub mod decide;
pub mod enrolment;
pub mod event;
pub mod expiry;
pub mod gate;
pub mod issuance;
pub mod presence;
pub mod reason;
pub mod recovery;
pub mod refusal;
pub mod rotation;
pub mod standing;
pub mod state;
pub mod statement;

#[cfg(test)]
mod tests;
