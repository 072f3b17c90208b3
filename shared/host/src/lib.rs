//! What every program on a host needs of it. Nothing here knows of Convoy.

pub mod dial;
pub mod folder;
pub mod stderr;
