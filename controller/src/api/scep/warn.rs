//! What is right but not as one might expect of SCEP settings, in words for people. Nothing is refused here.

use std::net::IpAddr;

use convoy_shared::settings::{CaPin, ChallengeSource, KeyUse, Periodic, ScepServer, ScepSettings};

/// What the controller itself has to do with settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// It serves SCEP.
    pub(super) serves: bool,
    /// It was given a challenge password for them.
    pub(super) challenge_stored: bool,
    /// It was given the password of NDES's page for them.
    pub(super) ndes_stored: bool,
}

/// C2.7 of the printers' manual.
const COMMON_NAME: &str = "for IPPS printing from Windows the common name must be the device's IP address: set common_name to {ip}";

/// Of settings that hold.
pub(super) fn of_settings(settings: &ScepSettings, circumstances: Circumstances) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if settings.key_use == KeyUse::Tls && !is_address(&settings.common_name) {
        warn(COMMON_NAME);
    }
    if matches!(settings.server, ScepServer::Url(_))
        && !matches!(settings.ca_fingerprint, CaPin::Sha256(_))
    {
        warn(
            "ca_fingerprint is not set: who stands between a device and the SCEP server can read the challenge password and issue certificates",
        );
    }
    if settings.periodic != Periodic::Off && !settings.delete_old {
        warn(
            "each periodic request takes a place among the device's keys (max_keys): set delete_old, or requests will end in Key and Certificate Registration Limit Error",
        );
    }
    let built_in =
        settings.server == ScepServer::BuiltIn || settings.challenge == ChallengeSource::BuiltIn;
    if built_in && !circumstances.serves {
        warn("this controller does not serve SCEP: start it with --scep-addr");
    }
    if settings.server == ScepServer::BuiltIn && settings.challenge == ChallengeSource::None {
        warn("the built-in SCEP server wants a challenge password: set challenge to built-in");
    }
    if settings.challenge == ChallengeSource::Stored && !circumstances.challenge_stored {
        warn("the controller was not given the challenge password yet: requests will fail");
    }
    if settings.challenge == ChallengeSource::Ndes && !circumstances.ndes_stored {
        warn("the controller was not given the password of NDES's page yet: requests will fail");
    }
    warnings
}

/// Of a manual request to a device that supports this.
pub(super) fn of_request(settings: &ScepSettings, supports: &[String]) -> Vec<String> {
    let mut warnings = Vec::new();
    if !is_address(&settings.common_name) {
        warnings.push(COMMON_NAME.to_owned());
    }
    if matches!(settings.server, ScepServer::Url(_))
        && !matches!(settings.ca_fingerprint, CaPin::Sha256(_))
    {
        warnings.push(
            "ca_fingerprint is not set: who stands between the device and the SCEP server can read the challenge password"
                .to_owned(),
        );
    }
    let mut wanted = vec![
        format!("RSA-{}", settings.key_length),
        settings.signature_algorithm.to_string(),
    ];
    if settings.key_use != KeyUse::None {
        wanted.push(settings.key_use.to_string());
    }
    if !supports.is_empty() {
        warnings.extend(
            wanted
                .into_iter()
                .filter(|word| !supports.contains(word))
                .map(|word| format!("the device does not say that it supports {word}")),
        );
    }
    warnings
}

fn is_address(common_name: &str) -> bool {
    common_name == "{ip}" || common_name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Circumstances = Circumstances {
        serves: true,
        challenge_stored: true,
        ndes_stored: true,
    };

    #[test]
    fn settings_without_surprise_have_no_warning() {
        let settings = ScepSettings {
            server: ScepServer::BuiltIn,
            challenge: ChallengeSource::BuiltIn,
            key_use: KeyUse::Tls,
            common_name: "{ip}".to_owned(),
            ..ScepSettings::default()
        };
        assert_eq!(of_settings(&settings, FINE), Vec::<String>::new());
        assert_eq!(
            of_settings(&ScepSettings::default(), FINE),
            Vec::<String>::new()
        );
    }

    #[test]
    fn surprises_are_said() {
        let nothing = Circumstances {
            serves: false,
            challenge_stored: false,
            ndes_stored: false,
        };
        let url = || ScepServer::Url("http://ca.example/scep".to_owned());
        for (settings, part) in [
            (
                ScepSettings {
                    key_use: KeyUse::Tls,
                    ..ScepSettings::default()
                },
                "IPPS",
            ),
            (
                ScepSettings {
                    server: url(),
                    ..ScepSettings::default()
                },
                "ca_fingerprint",
            ),
            (
                ScepSettings {
                    server: ScepServer::BuiltIn,
                    challenge: ChallengeSource::BuiltIn,
                    ..ScepSettings::default()
                },
                "--scep-addr",
            ),
            (
                ScepSettings {
                    challenge: ChallengeSource::Stored,
                    ..ScepSettings::default()
                },
                "was not given the challenge",
            ),
            (
                ScepSettings {
                    challenge: ChallengeSource::Ndes,
                    ..ScepSettings::default()
                },
                "NDES",
            ),
        ] {
            let warnings = of_settings(&settings, nothing);
            assert!(
                warnings.len() == 1 && warnings.concat().contains(part),
                "{part}: {warnings:?}"
            );
        }
    }

    #[test]
    fn a_request_is_compared_with_what_the_device_supports() {
        let settings = ScepSettings {
            common_name: "192.0.2.1".to_owned(),
            key_use: KeyUse::Tls,
            ..ScepSettings::default()
        };
        let supports = |words: &[&str]| -> Vec<String> {
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let all = supports(&["RSA-2048", "SHA-256", "TLS"]);
        assert_eq!(of_request(&settings, &all), Vec::<String>::new());
        assert_eq!(of_request(&settings, &[]), Vec::<String>::new());
        let warnings = of_request(&settings, &supports(&["RSA-2048", "SHA-256"]));
        assert!(warnings.concat().contains("TLS"), "{warnings:?}");
        let by_name = of_request(&ScepSettings::default(), &[]);
        assert!(by_name.concat().contains("IPPS"), "{by_name:?}");
    }
}
