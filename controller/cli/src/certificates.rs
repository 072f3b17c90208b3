//! `convoy cert`: server certificates, listed, shown and retired. How one is brought stands in its own file.

mod import;

use convoy_proto::v1::{self, certificate_service_client::CertificateServiceClient};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    args::{CertCommand, Format},
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::{self, Known},
};

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
    expiry: Known<v1::Expiry>,
    warnings: Vec<Warning>,
    anchor: u64,
    imported_at: Option<Timestamp>,
    in_service_since: Option<Timestamp>,
    /// Only where one certificate was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pem: String,
}

/// Something odd about a certificate that is served all the same.
#[derive(Debug, Serialize)]
struct Warning {
    code: String,
    message: String,
}

impl From<v1::CertificateWarning> for Warning {
    fn from(wire: v1::CertificateWarning) -> Self {
        Self {
            code: wire.code,
            message: wire.message,
        }
    }
}

impl Warning {
    fn text(&self) -> String {
        words::plain(&format!("{} [{}]", self.message, self.code))
    }
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
            expiry: Known::read(wire.expiry)?,
            warnings: wire.warnings.into_iter().map(Warning::from).collect(),
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
        CertCommand::Import { cert, key } => import::import(session, screen, &cert, &key).await,
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
                words::until(certificate.not_after, certificate.expiry),
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
        (
            "Not after",
            words::until(certificate.not_after, certificate.expiry),
        ),
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
    facts.extend(
        certificate
            .warnings
            .iter()
            .map(|warning| ("Warning", warning.text())),
    );
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
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    fn certificate() -> Certificate {
        Certificate::try_from(v1::Certificate {
            generation: 2,
            fingerprint: "ab".repeat(32),
            subject: "CN=controller".to_owned(),
            names: vec!["a.example".to_owned(), "192.0.2.1".to_owned()],
            key_algorithm: "ECDSA P-256".to_owned(),
            state: 3,
            expiry: v1::Expiry::Soon.into(),
            warnings: vec![v1::CertificateWarning {
                code: "ISSUER_MISSING".to_owned(),
                message: "its issuer is\nnot there".to_owned(),
            }],
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
            text.contains(
                "\nPut in service  2026-08-01 10:00:00 UTC\nWarning         its issuer is\\nnot there [ISSUER_MISSING]\n\n-----BEGIN"
            ),
            "{text}"
        );
        assert!(text.ends_with("-----END CERTIFICATE-----"), "{text}");
    }

    #[test]
    fn a_list_has_a_row_per_generation() {
        assert_eq!(
            listed(&[certificate()]),
            format!(
                "GENERATION  STATE    SUBJECT        KEY          NOT AFTER                       FINGERPRINT\n\
                 2           serving  CN=controller  ECDSA P-256  2026-08-01 10:00:00 UTC (soon)  {}",
                "ab".repeat(32)
            )
        );
    }
}
