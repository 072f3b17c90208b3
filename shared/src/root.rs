//! The root of trust and its succession. How a root is written down lives in the proto crate.

use jiff::{SignedDuration, Timestamp};

use crate::{
    envelope::{BadEnvelope, Envelope, PayloadType, Role},
    id::{FleetId, RootVersion},
};

/// Who may sign what, for one fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The fleet.
    pub fleet_id: FleetId,
    /// 1, 2, 3 … without gaps.
    pub version: RootVersion,
    /// Who may sign roots.
    pub root: Role,
    /// Who may sign documents and prove channels.
    pub policy: Role,
    /// When it was made.
    pub issued_at: Timestamp,
    /// After this it is called stale, and kept.
    pub expires_at: Timestamp,
    /// Whether verification may be switched off at all.
    pub off_allowed: bool,
    /// The longest that it may stay off after a document was issued.
    pub max_off: SignedDuration,
}

impl Root {
    /// Whether this root signed itself, as the first one of a chain must.
    ///
    /// # Errors
    /// If it is not signed by its own root role.
    pub fn check_own(&self, envelope: &Envelope) -> Result<(), BadSuccession> {
        envelope.verify(PayloadType::Root, &self.root)?;
        Ok(())
    }

    /// Whether `next`, which `envelope` holds, may follow this root. Expiry plays no part on the way along a chain.
    ///
    /// # Errors
    /// If it is another fleet's, not the next version, or not signed by both root roles.
    pub fn check_next(&self, next: &Self, envelope: &Envelope) -> Result<(), BadSuccession> {
        if next.fleet_id != self.fleet_id {
            return Err(BadSuccession::OtherFleet);
        }
        if next.version != self.version.next() {
            return Err(BadSuccession::Gap {
                expected: self.version.next(),
                found: next.version,
            });
        }
        envelope.verify(PayloadType::Root, &self.root)?;
        next.check_own(envelope)
    }
}

/// Why a root may not follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSuccession {
    /// Of another fleet.
    #[error("the root is of another fleet")]
    OtherFleet,
    /// A version is missing, or stands twice.
    #[error("root version {expected} was to come next, not {found}")]
    Gap {
        /// The next version.
        expected: RootVersion,
        /// What came.
        found: RootVersion,
    },
    /// Not signed as it must be.
    #[error("the root is not signed as it must be: {0}")]
    Signature(#[from] BadEnvelope),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::SigningKey;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).expect("32 bytes")
    }

    fn root(version: u64, seed: u8) -> Root {
        let role = Role::new(vec![key(seed).public()], 1).expect("a role");
        Root {
            fleet_id: FleetId::from_bytes(&[1; 16]).expect("16 bytes"),
            version: RootVersion(version),
            root: role.clone(),
            policy: role,
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            off_allowed: true,
            max_off: SignedDuration::from_hours(24),
        }
    }

    #[test]
    fn a_successor_is_signed_by_both() {
        let (first, second) = (root(1, 1), root(2, 2));
        let sign = |keys: &[&SigningKey]| Envelope::sign(PayloadType::Root, b"r".to_vec(), keys);
        assert_eq!(
            first.check_next(&second, &sign(&[&key(1), &key(2)])),
            Ok(())
        );
        for too_few in [sign(&[&key(1)]), sign(&[&key(2)]), sign(&[&key(3)])] {
            assert!(matches!(
                first.check_next(&second, &too_few),
                Err(BadSuccession::Signature(_))
            ));
        }
    }

    #[test]
    fn no_version_is_skipped_or_taken_back() {
        let both = Envelope::sign(PayloadType::Root, b"r".to_vec(), &[&key(1)]);
        for version in [0, 1, 3] {
            assert!(matches!(
                root(1, 1).check_next(&root(version, 1), &both),
                Err(BadSuccession::Gap { .. })
            ));
        }
    }
}
