//! BER in, DER out: indefinite lengths and constructed strings are normalised within limits. No meaning is read here.

pub(crate) use self::{
    read::{Malformed, Reader, Value},
    write::{bit_string, integer, null, octet_string, oid_value, sequence, set_of, tlv},
};

pub(crate) mod oid;
mod read;
pub(crate) mod tag;
#[cfg(test)]
mod tests;
mod write;

/// The longest input that is looked at, in octets.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// The deepest nesting that is looked at, in levels; a primitive value at the top is level 1.
pub const MAX_DEPTH: usize = 32;

/// Why an input is not one BER value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("the message is longer than 1 MiB")]
    TooLong,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the message is nested deeper than 32 levels")]
    TooDeep,
    /// The input ends inside a value.
    #[error("the message is cut off")]
    Truncated,
    /// There is something after the one value.
    #[error("something follows the message")]
    Trailing,
    /// A tag that cannot stand where it stands, or is encoded wrongly.
    #[error("the message has an invalid tag")]
    Tag,
    /// A length that is encoded wrongly, or exceeds the value around it.
    #[error("the message has an invalid length")]
    Length,
    /// A constructed string of which a segment is of another type, or has unused bits before the last.
    #[error("the message has an invalid constructed string")]
    Segment,
}

include!("ber/normalise.rs");
