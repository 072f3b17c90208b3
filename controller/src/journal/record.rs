//! An entry's frame, the same in every engine: format, link, hash, payload. Nothing is stored here.

use convoy_shared::id::Digest;

use super::{AppendError, Damage, ReadError};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The most bytes that a payload may have.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// What the first entry names as the hash of the one before.
pub const NO_ENTRY: Digest = Digest::new([0; 32]);

const FORMAT_LENGTH: usize = 4;
const HASH_LENGTH: usize = 32;

/// An entry whose hash is right. Whether it follows the one before is asked with [`Record::check_follows`].
///
/// Stored as: format (u32, big endian), SHA-256 of the entry before (32 bytes, zeros for the first), SHA-256 of this entry (32 bytes), payload. The
/// hash is over format, number (u64, big endian), hash of the entry before, payload: checksum and link in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The entry's number, from 1.
    pub number: u64,
    /// The hash of the entry before it, as this entry names it.
    pub previous: Digest,
    /// This entry's hash.
    pub hash: Digest,
    /// The bytes that were appended.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The frame for a payload that is to become entry `number`.
    ///
    /// # Errors
    /// If the payload has more than [`MAX_PAYLOAD`] bytes.
    pub fn new(number: u64, previous: Digest, payload: &'a [u8]) -> Result<Self, AppendError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(AppendError::TooLarge {
                length: payload.len(),
                most: MAX_PAYLOAD,
            });
        }
        Ok(Self {
            number,
            previous,
            hash: hash(number, &previous, payload),
            payload,
        })
    }

    /// The bytes to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut stored = Vec::with_capacity(FORMAT_LENGTH + 2 * HASH_LENGTH + self.payload.len());
        stored.extend_from_slice(&FORMAT.to_be_bytes());
        stored.extend_from_slice(self.previous.as_bytes());
        stored.extend_from_slice(self.hash.as_bytes());
        stored.extend_from_slice(self.payload);
        stored
    }

    /// Reads what is stored under `number`.
    ///
    /// # Errors
    /// If it is of a newer format, torn, or its hash is not that of its bytes under this number.
    pub fn parse(number: u64, stored: &'a [u8]) -> Result<Self, ReadError> {
        let damaged = |why| ReadError::Damaged { number, why };
        let torn = || damaged(Damage::Frame);
        let (format, rest) = stored
            .split_first_chunk::<FORMAT_LENGTH>()
            .ok_or_else(torn)?;
        match u32::from_be_bytes(*format) {
            FORMAT => {}
            format if format > FORMAT => return Err(ReadError::NewerFormat { number, format }),
            _ => return Err(torn()),
        }
        let (previous, rest) = rest.split_first_chunk::<HASH_LENGTH>().ok_or_else(torn)?;
        let (stated, payload) = rest.split_first_chunk::<HASH_LENGTH>().ok_or_else(torn)?;
        let previous = Digest::new(*previous);
        let hash = hash(number, &previous, payload);
        if hash != Digest::new(*stated) {
            return Err(damaged(Damage::Checksum));
        }
        Ok(Self {
            number,
            previous,
            hash,
            payload,
        })
    }

    /// Whether the entry before it has this hash.
    ///
    /// # Errors
    /// If it names another.
    pub fn check_follows(&self, previous: &Digest) -> Result<(), ReadError> {
        if self.previous == *previous {
            Ok(())
        } else {
            Err(ReadError::Damaged {
                number: self.number,
                why: Damage::Chain,
            })
        }
    }
}

fn hash(number: u64, previous: &Digest, payload: &[u8]) -> Digest {
    let mut hashed = Vec::with_capacity(FORMAT_LENGTH + 8 + HASH_LENGTH + payload.len());
    hashed.extend_from_slice(&FORMAT.to_be_bytes());
    hashed.extend_from_slice(&number.to_be_bytes());
    hashed.extend_from_slice(previous.as_bytes());
    hashed.extend_from_slice(payload);
    Digest::of(&hashed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Vec<u8> {
        Record::new(7, Digest::of(b"6"), b"payload")
            .expect("short")
            .to_bytes()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let stored = stored();
        let record = Record::parse(7, &stored).expect("own bytes");
        assert_eq!((record.number, record.payload), (7, &b"payload"[..]));
        assert!(record.check_follows(&Digest::of(b"6")).is_ok());
        assert!(matches!(
            record.check_follows(&NO_ENTRY),
            Err(ReadError::Damaged {
                number: 7,
                why: Damage::Chain
            })
        ));
    }

    #[test]
    fn no_flipped_bit_and_no_torn_end_is_read() {
        let stored = stored();
        for at in 0..stored.len() {
            for bit in 0..8 {
                let mut flipped = stored.clone();
                flipped[at] ^= 1 << bit;
                assert!(Record::parse(7, &flipped).is_err(), "byte {at}, bit {bit}");
            }
            assert!(Record::parse(7, &stored[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_record_stands_in_its_own_place_only() {
        assert!(matches!(
            Record::parse(8, &stored()),
            Err(ReadError::Damaged {
                number: 8,
                why: Damage::Checksum
            })
        ));
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut newer = stored();
        newer[..4].copy_from_slice(&2_u32.to_be_bytes());
        assert!(matches!(
            Record::parse(7, &newer),
            Err(ReadError::NewerFormat {
                number: 7,
                format: 2
            })
        ));
    }

    #[test]
    fn what_is_too_large_is_refused() {
        assert!(matches!(
            Record::new(1, NO_ENTRY, &vec![0; MAX_PAYLOAD + 1]),
            Err(AppendError::TooLarge { .. })
        ));
    }
}
