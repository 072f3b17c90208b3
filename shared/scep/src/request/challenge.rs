//! The challenge password (RFC 2985 section 5.4.1): a secret, kept out of logs. Which one is right is known elsewhere.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use zeroize::Zeroizing;

use super::RequestError;

/// The longest challenge, in characters (RFC 2985 appendix A, pkcs-9-ub-challengePassword).
const MAX_CHALLENGE: usize = 255;

/// A challenge password. `Debug` hides it, and its memory is zeroed when it is dropped.
#[derive(Clone)]
pub struct Challenge(Zeroizing<String>);

impl Challenge {
    /// Takes a challenge of 1 to 255 characters.
    ///
    /// # Errors
    /// [`RequestError::Challenge`] where it is empty, longer, or has control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, RequestError> {
        let text = Zeroizing::new(text.into());
        let characters = text.chars().count();
        if !(1..=MAX_CHALLENGE).contains(&characters) || text.chars().any(char::is_control) {
            return Err(RequestError::Challenge);
        }
        Ok(Self(text))
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is this text; the time this takes does not tell how much of it is right.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), text.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(hidden)")
    }
}
