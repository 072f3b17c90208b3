//! `convoy cert import`. A private key is read to be handed to the controller, wiped, and never printed.

use std::{fs::File, io::Read as _, path::Path};

use bytes::Bytes;
use convoy_proto::v1::{self, certificate_service_client::CertificateServiceClient};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Certificate;
use crate::{
    answers,
    args::Format,
    connect::Session,
    failure::Failure,
    output::Screen,
    words::{self, Known},
};

/// No certificate with its chain, and no key, is larger. Bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The reasons of what is plain before the controller is asked, spelled as it spells them.
const NO_CERTIFICATE: &str = "CERTIFICATE_UNREADABLE";
const NO_KEY: &str = "KEY_UNREADABLE";

pub(super) async fn import(
    session: &Session,
    screen: &mut Screen<'_>,
    cert: &Path,
    key: &Path,
) -> Result<(), Failure> {
    let certificate_pem = certificates_in(&text_of(cert, NO_CERTIFICATE)?).ok_or_else(|| {
        Failure::Declined(format!(
            "{} has no certificate in PEM (-----BEGIN CERTIFICATE-----). Convert it: openssl x509 -in F -inform der, or \
             openssl pkcs12 -in F -nokeys [{NO_CERTIFICATE}]",
            cert.display()
        ))
    })?;
    let key_text = text_of(key, NO_KEY)?;
    check_key(&key_text).map_err(|(problem, reason)| {
        Failure::Declined(format!("{} {problem} [{reason}]", key.display()))
    })?;
    let mut service = CertificateServiceClient::new(session.channel().await?);
    let request = v1::ImportCertificateRequest {
        request_id: session.request_id.clone(),
        certificate_pem,
        // Wiped when the last reference to it is gone.
        key_pem: Bytes::from_owner(KeyText(key_text)),
    };
    let answer = service
        .import_certificate(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let outcome: Known<v1::ImportOutcome> = Known::read(answer.outcome)?;
    let certificate = Certificate::try_from(answers::required(answer.certificate, "certificate")?)?;
    for warning in &certificate.warnings {
        screen.note(&format!("Warning: {}", warning.text()));
    }
    match session.format {
        Format::Json => screen.json(&Imported {
            outcome,
            certificate: &certificate,
        }),
        Format::Text => {
            screen.note(&told(outcome.value(), &certificate));
            screen.line(&certificate.generation.to_string())
        }
    }
}

/// What came of it.
#[derive(Serialize)]
struct Imported<'a> {
    outcome: Known<v1::ImportOutcome>,
    #[serde(flatten)]
    certificate: &'a Certificate,
}

fn told(outcome: v1::ImportOutcome, certificate: &Certificate) -> String {
    let generation = certificate.generation;
    let next = match certificate.state.value() {
        v1::CertificateState::Serving => "It is served to everyone".to_owned(),
        v1::CertificateState::Candidate => "A rotation to it is running".to_owned(),
        state @ (v1::CertificateState::Unspecified
        | v1::CertificateState::Available
        | v1::CertificateState::Bridge
        | v1::CertificateState::Retired) => {
            let is = if state == v1::CertificateState::Retired {
                "It is retired"
            } else {
                "Nothing is served differently yet"
            };
            format!("{is}; next: convoy rotation start --to {generation}")
        }
    };
    match outcome {
        v1::ImportOutcome::ChainTaken => format!(
            "Certificate {generation} is known, and its new chain is taken: it is shown from now on. {next}"
        ),
        v1::ImportOutcome::NothingNew => format!(
            "Certificate {generation} is known with this chain: there is nothing new to take. {next}"
        ),
        v1::ImportOutcome::Unspecified | v1::ImportOutcome::Imported => format!(
            "Imported {} as generation {generation}, valid until {}. {next}",
            words::plain(&certificate.subject),
            words::instant(certificate.not_after),
        ),
    }
}

/// A private key on its way to the controller.
struct KeyText(Zeroizing<String>);

impl AsRef<[u8]> for KeyText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The file's text, in memory that is wiped: certificates often stand in one file with their key. `reason` is said if it is no text.
fn text_of(path: &Path, reason: &str) -> Result<Zeroizing<String>, Failure> {
    let unreadable = |source| Failure::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Growing would leave copies behind.
    let size = file.metadata().map_err(unreadable)?.len().min(LARGEST_FILE);
    let mut text = Zeroizing::new(String::with_capacity(
        usize::try_from(size).unwrap_or(0) + 1,
    ));
    match file.take(LARGEST_FILE + 1).read_to_string(&mut text) {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read <= LARGEST_FILE) => Ok(text),
        Ok(_) => Err(Failure::Declined(format!(
            "{} is larger than 1 MiB: that is neither a certificate nor a key. Check the path [CERTIFICATE_TOO_LARGE]",
            path.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(Failure::Declined(format!(
                "{} is not text, so it is not PEM. Convert it with openssl, for example: openssl pkcs12 -in F -nodes [{reason}]",
                path.display()
            )))
        }
        Err(error) => Err(unreadable(error)),
    }
}

/// The certificates in a PEM text and nothing else, so that a key beside them goes nowhere; none if there is none.
fn certificates_in(pem: &str) -> Option<String> {
    let mut found = String::new();
    let mut inside = false;
    for line in pem.lines().map(str::trim) {
        inside |= line == "-----BEGIN CERTIFICATE-----";
        if inside {
            found.push_str(line);
            found.push('\n');
        }
        inside &= line != "-----END CERTIFICATE-----";
    }
    (!found.is_empty() && !inside).then_some(found)
}

/// What is plainly wrong with a key's PEM text, going on after the file's name, and the reason as the controller would spell it.
fn check_key(pem: &str) -> Result<(), (&'static str, &'static str)> {
    if pem.contains("ENCRYPTED") {
        Err((
            "is encrypted, and Convoy asks for no passphrase. Decrypt it: openssl pkey -in F -out F.plain",
            "KEY_ENCRYPTED",
        ))
    } else if pem.contains("PRIVATE KEY-----") {
        Ok(())
    } else {
        Err((
            "has no private key in PEM (-----BEGIN PRIVATE KEY-----). Check the path, or convert it: openssl pkey -in F -inform der",
            NO_KEY,
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";

    #[test]
    fn a_key_beside_the_certificate_stays_at_home() {
        let sent = certificates_in(&format!("{KEY}text\n{CERTIFICATE}{CERTIFICATE}")).unwrap();
        assert_eq!(sent, format!("{CERTIFICATE}{CERTIFICATE}"));
        assert_eq!(certificates_in(KEY), None);
        assert_eq!(certificates_in("-----BEGIN CERTIFICATE-----\nMIIB\n"), None);
    }

    #[test]
    fn what_is_no_usable_key_is_told_apart() {
        assert_eq!(check_key(KEY), Ok(()));
        assert!(check_key(CERTIFICATE).is_err_and(|(problem, reason)| {
            problem.starts_with("has no private key") && reason == NO_KEY
        }));
        assert!(
            check_key("-----BEGIN ENCRYPTED PRIVATE KEY-----")
                .is_err_and(|(problem, reason)| problem.starts_with("is encrypted")
                    && reason == "KEY_ENCRYPTED")
        );
    }

    #[test]
    fn files_that_cannot_be_pem_are_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0x30, 0x82, 0xff]).unwrap();
        assert!(
            text_of(file.path(), NO_KEY)
                .unwrap_err()
                .to_string()
                .contains("is not text")
        );
        assert!(
            text_of(Path::new("/nowhere/at/all"), NO_KEY)
                .unwrap_err()
                .to_string()
                .starts_with("cannot read /nowhere")
        );
        let large = tempfile::NamedTempFile::new().unwrap();
        large.as_file().set_len(LARGEST_FILE + 1).unwrap();
        assert!(
            text_of(large.path(), NO_KEY)
                .unwrap_err()
                .to_string()
                .contains("larger than 1 MiB")
        );
    }
}
