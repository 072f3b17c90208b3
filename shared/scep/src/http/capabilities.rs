//! What a CA says it supports (RFC 8894 section 3.5.2), and what a client makes of it. Nothing is chosen for the user here.

use crate::algorithm::{Cipher, Hash};

/// The keywords of GetCACaps. All `false` is a server from before GetCACaps: 3DES, SHA-1, GET.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `AES`: AES-128-CBC.
    pub aes: bool,
    /// `DES3`: Triple DES.
    pub des3: bool,
    /// `SHA-1`.
    pub sha1: bool,
    /// `SHA-256`.
    pub sha256: bool,
    /// `SHA-384`.
    pub sha384: bool,
    /// `SHA-512`.
    pub sha512: bool,
    /// `POSTPKIOperation`.
    pub post: bool,
    /// `Renewal`: RenewalReq is understood.
    pub renewal: bool,
    /// `GetNextCACert`.
    pub next_ca: bool,
    /// `SCEPStandard`: all that RFC 8894 makes mandatory, which is AES, SHA-256 and POST.
    pub scep_standard: bool,
}

impl Capabilities {
    /// Reads the answer to GetCACaps: keywords by line, in any order and case; unknown ones are ignored.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        text.lines().fold(Self::default(), |mut caps, line| {
            match line.trim().to_ascii_uppercase().as_str() {
                "AES" => caps.aes = true,
                "DES3" => caps.des3 = true,
                "SHA-1" => caps.sha1 = true,
                "SHA-256" => caps.sha256 = true,
                "SHA-384" => caps.sha384 = true,
                "SHA-512" => caps.sha512 = true,
                "POSTPKIOPERATION" => caps.post = true,
                "RENEWAL" => caps.renewal = true,
                "GETNEXTCACERT" => caps.next_ca = true,
                "SCEPSTANDARD" => caps.scep_standard = true,
                _ => {}
            }
            caps
        })
    }

    /// The keywords, one on a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        [
            (self.aes, "AES"),
            (self.des3, "DES3"),
            (self.sha1, "SHA-1"),
            (self.sha256, "SHA-256"),
            (self.sha384, "SHA-384"),
            (self.sha512, "SHA-512"),
            (self.post, "POSTPKIOperation"),
            (self.renewal, "Renewal"),
            (self.next_ca, "GetNextCACert"),
            (self.scep_standard, "SCEPStandard"),
        ]
        .into_iter()
        .filter(|(set, _)| *set)
        .fold(String::new(), |text, (_, keyword)| text + keyword + "\n")
    }

    /// The hash to use where nothing else is asked for: SHA-256 before the longer ones, since RFC 8894 section 2.9 makes it the one that
    /// every server of today has been tried with, and SHA-1 where there is nothing else.
    #[must_use]
    pub fn best_hash(&self) -> Hash {
        if self.sha256 || self.scep_standard {
            Hash::Sha256
        } else if self.sha512 {
            Hash::Sha512
        } else if self.sha384 {
            Hash::Sha384
        } else {
            Hash::Sha1
        }
    }

    /// The cipher to use where nothing else is asked for: `AES` is AES-128-CBC, everything else Triple DES.
    #[must_use]
    pub fn best_cipher(&self) -> Cipher {
        if self.aes || self.scep_standard {
            Cipher::Aes128
        } else {
            Cipher::TripleDes
        }
    }

    /// Whether a message may be posted.
    #[must_use]
    pub fn can_post(&self) -> bool {
        self.post || self.scep_standard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_end_either_way_in_any_order_and_case() {
        let caps = Capabilities::from_text(
            "renewal\r\n sha-512 \nPostPKIOperation\nUpdate\r\n\r\nsha-256\r\nDES3",
        );
        let expected = Capabilities {
            renewal: true,
            sha512: true,
            sha256: true,
            post: true,
            des3: true,
            ..Capabilities::default()
        };
        assert_eq!(caps, expected);
        assert_eq!(Capabilities::from_text(&caps.to_text()), caps);
    }

    #[test]
    fn the_standard_keyword_means_all_that_is_mandatory() {
        let caps = Capabilities::from_text("SCEPStandard");
        assert_eq!(
            (caps.best_hash(), caps.best_cipher(), caps.can_post()),
            (Hash::Sha256, Cipher::Aes128, true)
        );
        assert!(!caps.renewal);
    }

    #[test]
    fn a_server_without_capabilities_is_a_legacy_one() {
        for text in ["", "\n", "<html>404</html>", "MD5"] {
            let caps = Capabilities::from_text(text);
            assert_eq!(caps, Capabilities::default(), "{text}");
            assert_eq!(
                (caps.best_hash(), caps.best_cipher(), caps.can_post()),
                (Hash::Sha1, Cipher::TripleDes, false)
            );
        }
    }

    #[test]
    fn ndes_has_triple_des_without_aes() {
        let caps =
            Capabilities::from_text("POSTPKIOperation\nRenewal\nSHA-512\nSHA-256\nSHA-1\nDES3");
        assert_eq!(
            (caps.best_hash(), caps.best_cipher(), caps.can_post()),
            (Hash::Sha256, Cipher::TripleDes, true)
        );
        assert_eq!(
            Capabilities::from_text("SHA-512\nSHA-384").best_hash(),
            Hash::Sha512
        );
        assert_eq!(Capabilities::from_text("SHA-384").best_hash(), Hash::Sha384);
    }
}
