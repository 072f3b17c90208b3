//! `convoy cert`. A private key is read to be handed to the controller, wiped, and never printed.

use std::{fs::File, io::Read as _, path::Path};

use bytes::Bytes;
use convoy_proto::v1::{self, certificate_service_client::CertificateServiceClient};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    answers,
    args::{CertCommand, Format},
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::{self, Known},
};

/// No certificate with its chain, and no key, is larger. Bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The reasons of what is plain before the controller is asked, spelled as it spells them.
const NO_CERTIFICATE: &str = "CERTIFICATE_UNREADABLE";
const NO_KEY: &str = "KEY_UNREADABLE";

/// A server certificate.
#[derive(Debug, Serialize)]
struct Certificate {
    generation: u64,
    fingerprint: String,
    spki_sha256: String,
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    key_algorithm: String,
    state: Known<v1::CertificateState>,
    anchor: u64,
    imported_at: Option<Timestamp>,
    in_service_since: Option<Timestamp>,
    /// Only where one certificate was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pem: String,
}

impl TryFrom<v1::Certificate> for Certificate {
    type Error = Unreadable;

    fn try_from(wire: v1::Certificate) -> Result<Self, Unreadable> {
        Ok(Self {
            generation: wire.generation,
            fingerprint: wire.fingerprint,
            spki_sha256: wire.spki_sha256,
            subject: wire.subject,
            issuer: wire.issuer,
            names: wire.names,
            not_before: answers::instant(wire.not_before, "not_before")?,
            not_after: answers::instant(wire.not_after, "not_after")?,
            key_algorithm: wire.key_algorithm,
            state: Known::read(wire.state)?,
            anchor: wire.anchor,
            imported_at: answers::instant(wire.imported_at, "imported_at")?,
            in_service_since: answers::instant(wire.in_service_since, "in_service_since")?,
            pem: wire.pem,
        })
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: CertCommand,
) -> Result<(), Failure> {
    match command {
        CertCommand::Import { cert, key } => import(session, screen, &cert, &key).await,
        CertCommand::List => {
            let mut service = CertificateServiceClient::new(session.channel().await?);
            let certificates: Vec<Certificate> = answers::every_page(async |page_token| {
                let request = v1::ListCertificatesRequest {
                    page_size: 1_000,
                    page_token,
                };
                let answer = service.list_certificates(request).await?.into_inner();
                Ok((answer.certificates, answer.next_page_token))
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&certificates),
                Format::Text => screen.line(&listed(&certificates)),
            }
        }
        CertCommand::Show { generation } => {
            let mut service = CertificateServiceClient::new(session.channel().await?);
            let request = v1::GetCertificateRequest {
                generation: generation.unwrap_or(0),
            };
            let answer = service
                .get_certificate(request)
                .await
                .map_err(Failure::asking)?
                .into_inner();
            let certificate =
                Certificate::try_from(answers::required(answer.certificate, "certificate")?)?;
            match session.format {
                Format::Json => screen.json(&certificate),
                Format::Text => screen.line(&shown(&certificate)),
            }
        }
        CertCommand::Retire { generation, force } => {
            let mut service = CertificateServiceClient::new(session.channel().await?);
            let request = v1::RetireCertificateRequest {
                request_id: session.request_id.clone(),
                generation,
                force,
            };
            let answer = service
                .retire_certificate(request)
                .await
                .map_err(|status| session.changing(status))?
                .into_inner();
            let certificate =
                Certificate::try_from(answers::required(answer.certificate, "certificate")?)?;
            match session.format {
                Format::Json => screen.json(&certificate),
                Format::Text => {
                    screen.note(&format!(
                        "Certificate {} is {}: it is served to nobody from now on",
                        certificate.generation, certificate.state
                    ));
                    Ok(())
                }
            }
        }
    }
}

async fn import(
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
    let certificate = Certificate::try_from(answers::required(answer.certificate, "certificate")?)?;
    match session.format {
        Format::Json => screen.json(&certificate),
        Format::Text => {
            screen.note(&format!(
                "Imported {} as generation {}, valid until {}. Nothing is served differently yet; next: convoy rotation start --to {}",
                words::plain(&certificate.subject),
                certificate.generation,
                words::instant(certificate.not_after),
                certificate.generation,
            ));
            screen.line(&certificate.generation.to_string())
        }
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

fn listed(certificates: &[Certificate]) -> String {
    output::table(
        [
            "GENERATION",
            "STATE",
            "SUBJECT",
            "KEY",
            "NOT AFTER",
            "FINGERPRINT",
        ],
        certificates.iter().map(|certificate| {
            [
                certificate.generation.to_string(),
                certificate.state.to_string(),
                certificate.subject.clone(),
                certificate.key_algorithm.clone(),
                words::instant(certificate.not_after),
                certificate.fingerprint.clone(),
            ]
        }),
    )
}

fn shown(certificate: &Certificate) -> String {
    let mut facts = vec![
        ("Generation", certificate.generation.to_string()),
        ("State", certificate.state.to_string()),
        ("Subject", certificate.subject.clone()),
        ("Issuer", certificate.issuer.clone()),
        ("Names", certificate.names.join(", ")),
        ("Not before", words::instant(certificate.not_before)),
        ("Not after", words::instant(certificate.not_after)),
        ("Key", certificate.key_algorithm.clone()),
        ("Fingerprint", certificate.fingerprint.clone()),
        ("SPKI SHA-256", certificate.spki_sha256.clone()),
        ("Anchor", certificate.anchor.to_string()),
        ("Imported", words::instant(certificate.imported_at)),
    ];
    if certificate.in_service_since.is_some() {
        facts.push((
            "Put in service",
            words::instant(certificate.in_service_since),
        ));
    }
    // PEM is lines; each is made harmless by itself.
    let pem: Vec<String> = certificate
        .pem
        .trim_end()
        .lines()
        .map(words::plain)
        .collect();
    format!("{}\n\n{}", output::facts(&facts), pem.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n";

    fn certificate() -> Certificate {
        Certificate::try_from(v1::Certificate {
            generation: 2,
            fingerprint: "ab".repeat(32),
            subject: "CN=controller".to_owned(),
            names: vec!["a.example".to_owned(), "192.0.2.1".to_owned()],
            key_algorithm: "ECDSA P-256".to_owned(),
            state: 3,
            anchor: 2,
            in_service_since: Some(prost_types::Timestamp {
                seconds: 1_785_578_400,
                nanos: 0,
            }),
            not_after: Some(prost_types::Timestamp {
                seconds: 1_785_578_400,
                nanos: 0,
            }),
            pem: CERTIFICATE.to_owned(),
            ..v1::Certificate::default()
        })
        .unwrap()
    }

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

    #[test]
    fn the_text_ends_with_the_pem() {
        let text = shown(&certificate());
        assert!(
            text.starts_with("Generation      2\nState           serving\n"),
            "{text}"
        );
        assert!(
            text.contains("\nNames           a.example, 192.0.2.1\n"),
            "{text}"
        );
        assert!(
            text.contains("\nPut in service  2026-08-01 10:00:00 UTC\n\n-----BEGIN"),
            "{text}"
        );
        assert!(text.ends_with("-----END CERTIFICATE-----"), "{text}");
    }

    #[test]
    fn a_list_has_a_row_per_generation() {
        assert_eq!(
            listed(&[certificate()]),
            format!(
                "GENERATION  STATE    SUBJECT        KEY          NOT AFTER                FINGERPRINT\n\
                 2           serving  CN=controller  ECDSA P-256  2026-08-01 10:00:00 UTC  {}",
                "ab".repeat(32)
            )
        );
    }
}
