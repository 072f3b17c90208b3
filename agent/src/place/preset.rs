//! What each kind of location takes: which files with what in them, how its function is told of them, and how it looks at them and takes them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use zeroize::Zeroizing;

use super::{BadMaterial, Command, CommandError, Material, files::Write};

/// A kind of location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preset {
    /// CUPS.
    Cups(Cups),
    /// nginx.
    Nginx(Nginx),
    /// strongSwan with swanctl.
    StrongSwan(StrongSwan),
    /// wpa_supplicant on its own.
    WpaSupplicant(WpaSupplicant),
    /// NetworkManager.
    NetworkManager(NetworkManager),
    /// Anything else.
    Files(Files),
}

/// CUPS takes a changed certificate with its next connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cups {
    /// `ServerKeychain` of cups-files.conf.
    pub folder: PathBuf,
    /// `ServerName` of cupsd.conf.
    pub server_name: String,
}

/// nginx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nginx {
    /// `ssl_certificate`: gets the certificate and its issuers.
    pub certificate: PathBuf,
    /// `ssl_certificate_key`.
    pub key: PathBuf,
    /// The program, with `-c` or `-p` as needed.
    pub nginx: Command,
}

/// strongSwan: the connection's `local.certs` names the certificate's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrongSwan {
    /// swanctl's folder.
    pub folder: PathBuf,
    /// The files' name, without `.pem`.
    pub name: String,
    /// Whether the SCEP server's CA and the issuers go into `x509ca`, so that whoever has a certificate of theirs is trusted as a peer.
    pub ca: bool,
    /// The program.
    pub swanctl: Command,
}

/// wpa_supplicant: the paths are those of its own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WpaSupplicant {
    /// The network interface.
    pub interface: String,
    /// `client_cert`.
    pub certificate: PathBuf,
    /// `private_key`.
    pub key: PathBuf,
    /// `ca_cert`: what the authentication server is trusted by. Only where the SCEP server's CA is that, too.
    pub ca: Option<PathBuf>,
    /// The program.
    pub wpa_cli: Command,
}

/// NetworkManager is told the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkManager {
    /// The connection's name or UUID.
    pub connection: String,
    /// `802-1x.client-cert`.
    pub certificate: PathBuf,
    /// `802-1x.private-key`.
    pub key: PathBuf,
    /// `802-1x.ca-cert`, as for [`WpaSupplicant::ca`].
    pub ca: Option<PathBuf>,
    /// The program.
    pub nmcli: Command,
}

/// Files and commands of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Gets the certificate.
    pub certificate: PathBuf,
    /// Gets the private key.
    pub key: PathBuf,
    /// Gets the issuers.
    pub chain: Option<PathBuf>,
    /// Gets the SCEP server's CA.
    pub ca: Option<PathBuf>,
    /// Whether the issuers go into the certificate's file, too.
    pub full_chain: bool,
    /// Looks at the files in place.
    pub check: Option<Command>,
    /// Has the function take them.
    pub activate: Option<Command>,
}

/// A command, and what it must say to have done well, where its exit code does not tell.
pub(super) struct Order {
    command: Command,
    says: Option<&'static str>,
}

impl Order {
    const fn plain(command: Command) -> Self {
        Self {
            command,
            says: None,
        }
    }

    pub(super) async fn run(&self, timeout: Duration) -> Result<String, CommandError> {
        let output = self.command.run(timeout).await?;
        match self.says {
            Some(expected) if !output.lines().any(|line| line.trim() == expected) => {
                Err(CommandError::answer(&self.command, expected, &output))
            }
            _ => Ok(output),
        }
    }
}

/// 802-1x properties whose values are kept, to be put back.
const ASSIGNED: [&str; 4] = ["802-1x.client-cert", "802-1x.private-key", FLAGS, CA];
const FLAGS: &str = "802-1x.private-key-password-flags";
const CA: &str = "802-1x.ca-cert";
/// NM_SETTING_SECRET_FLAG_NOT_REQUIRED: the key's file has no password.
const NO_PASSWORD: &str = "4";

impl Preset {
    /// The files, in the order in which they are replaced: what is trusted, then the certificate, then its key.
    pub(super) fn files(&self, material: &Material) -> Result<Vec<Write>, BadMaterial> {
        let leaf = || vec![material.certificate_pem.as_str()];
        let full = || vec![material.certificate_pem.as_str(), &material.chain_pem];
        let pair = |parts: Vec<&str>, certificate: &PathBuf, key: &PathBuf| {
            [
                public(certificate.clone(), &parts),
                secret(key.clone(), &material.key_pem),
            ]
        };
        let ca = |path: &Option<PathBuf>| -> Result<Option<Write>, BadMaterial> {
            path.as_ref()
                .map(|path| given(path, &material.ca_pem, "the CA"))
                .transpose()
        };
        Ok(match self {
            Self::Cups(cups) => {
                let file = |kind| cups.folder.join(format!("{}.{kind}", cups.server_name));
                pair(full(), &file("crt"), &file("key")).into()
            }
            Self::Nginx(nginx) => pair(full(), &nginx.certificate, &nginx.key).into(),
            Self::StrongSwan(swan) => {
                let mut files = if swan.ca {
                    swan.authorities(material)?
                } else {
                    Vec::new()
                };
                let file = |folder| swan.folder.join(folder).join(format!("{}.pem", swan.name));
                files.extend(pair(leaf(), &file("x509"), &file("private")));
                files
            }
            Self::WpaSupplicant(wpa) => {
                let mut files: Vec<_> = ca(&wpa.ca)?.into_iter().collect();
                files.extend(pair(full(), &wpa.certificate, &wpa.key));
                files
            }
            Self::NetworkManager(nm) => {
                let mut files: Vec<_> = ca(&nm.ca)?.into_iter().collect();
                files.extend(pair(full(), &nm.certificate, &nm.key));
                files
            }
            Self::Files(own) => {
                let mut files: Vec<_> = ca(&own.ca)?.into_iter().collect();
                if let Some(chain) = &own.chain {
                    files.push(given(chain, &material.chain_pem, "the issuers")?);
                }
                let parts = if own.full_chain { full() } else { leaf() };
                files.extend(pair(parts, &own.certificate, &own.key));
                files
            }
        })
    }

    /// What the function is told to use now, for [`Self::assign_back`].
    pub(super) async fn assigned(&self, timeout: Duration) -> Result<Vec<String>, CommandError> {
        let Self::NetworkManager(nm) = self else {
            return Ok(Vec::new());
        };
        let mut values = Vec::with_capacity(ASSIGNED.len());
        // One at a time: how several are told apart depends on the version.
        for property in ASSIGNED {
            let shown = nm
                .nmcli
                .with(&[
                    "--escape",
                    "no",
                    "-g",
                    property,
                    "con",
                    "show",
                    &nm.connection,
                ])
                .run(timeout)
                .await?;
            let value = shown.lines().next().unwrap_or_default().trim();
            values.push(if property == FLAGS {
                // Some versions say "4 (not required)".
                value.chars().take_while(char::is_ascii_digit).collect()
            } else {
                value.to_owned()
            });
        }
        Ok(values)
    }

    /// Tells the function which files are its. Does not switch it on.
    pub(super) fn assign(&self) -> Vec<Order> {
        let Self::NetworkManager(nm) = self else {
            return Vec::new();
        };
        let text = |path: &PathBuf| path.display().to_string();
        let (certificate, key) = (text(&nm.certificate), text(&nm.key));
        let ca = nm.ca.as_ref().map(text);
        let [for_certificate, for_key, for_flags, for_ca] = ASSIGNED;
        let mut words = vec!["con", "mod", &nm.connection, for_certificate, &certificate];
        if let Some(ca) = &ca {
            words.extend([for_ca, ca]);
        }
        words.extend([for_key, &key, for_flags, NO_PASSWORD]);
        vec![Order::plain(nm.nmcli.with(&words))]
    }

    /// Tells the function what it was told before.
    pub(super) fn assign_back(&self, assigned: &[String]) -> Vec<Order> {
        let Self::NetworkManager(nm) = self else {
            return Vec::new();
        };
        let mut words = vec!["con", "mod", nm.connection.as_str()];
        for (property, value) in ASSIGNED.into_iter().zip(assigned) {
            // Without a CA of its own it was not told of one.
            if property != CA || nm.ca.is_some() {
                words.extend([property, value]);
            }
        }
        if assigned.is_empty() {
            return Vec::new();
        }
        vec![Order::plain(nm.nmcli.with(&words))]
    }

    /// Looks at the files in place.
    pub(super) fn check(&self) -> Option<Order> {
        match self {
            Self::Nginx(nginx) => Some(nginx.nginx.with(&["-t"])),
            Self::Files(own) => own.check.clone(),
            _ => None,
        }
        .map(Order::plain)
    }

    /// Has the function take them.
    pub(super) fn activate(&self) -> Vec<Order> {
        match self {
            Self::Cups(_) => Vec::new(),
            Self::Nginx(nginx) => vec![Order::plain(nginx.nginx.with(&["-s", "reload"]))],
            Self::StrongSwan(swan) => {
                vec![Order::plain(
                    swan.swanctl.with(&["--load-all", "--noprompt"]),
                )]
            }
            // wpa_cli ends with exit code 0 also where it says FAIL.
            Self::WpaSupplicant(wpa) => ["reconfigure", "reassociate"]
                .into_iter()
                .map(|word| Order {
                    command: wpa.wpa_cli.with(&["-i", &wpa.interface, word]),
                    says: Some("OK"),
                })
                .collect(),
            Self::NetworkManager(nm) => {
                vec![Order::plain(nm.nmcli.with(&["con", "up", &nm.connection]))]
            }
            Self::Files(own) => own.activate.clone().map(Order::plain).into_iter().collect(),
        }
    }
}

impl StrongSwan {
    /// swanctl reads one certificate per file. Files of an earlier, longer chain go.
    fn authorities(&self, material: &Material) -> Result<Vec<Write>, BadMaterial> {
        let mut all: Vec<CertificateDer<'static>> = Vec::new();
        for part in [&material.ca_pem, &material.chain_pem] {
            for certificate in certificates(part)? {
                if !all.contains(&certificate) {
                    all.push(certificate);
                }
            }
        }
        let path = |number: usize| {
            let name = match number {
                1 => format!("{}.pem", self.name),
                _ => format!("{}-{number}.pem", self.name),
            };
            self.folder.join("x509ca").join(name)
        };
        let mut files: Vec<Write> = (1..)
            .zip(&all)
            .map(|(number, certificate)| public(path(number), &[&encode(certificate)]))
            .collect();
        let surplus = (all.len() + 1..)
            .map(path)
            .take_while(|path| path.exists())
            .map(|path| Write {
                path,
                content: None,
                secret: false,
            });
        files.extend(surplus);
        Ok(files)
    }
}

/// The certificates of a PEM text.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, BadMaterial> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| BadMaterial::Issuers)
}

/// RFC 7468.
fn encode(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----".to_owned();
    for (position, character) in text.chars().enumerate() {
        if position % 64 == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

fn given(path: &Path, pem: &str, what: &'static str) -> Result<Write, BadMaterial> {
    if certificates(pem)?.is_empty() {
        return Err(BadMaterial::Lacks(what));
    }
    Ok(public(path.to_owned(), &[pem]))
}

fn public(path: PathBuf, parts: &[&str]) -> Write {
    // Of one piece from the start, so that growing leaves no copies of a key behind.
    let length: usize = parts.iter().map(|part| part.len() + 1).sum();
    let mut content = Zeroizing::new(Vec::with_capacity(length));
    for part in parts {
        content.extend_from_slice(part.as_bytes());
        if !part.is_empty() && !part.ends_with('\n') {
            content.push(b'\n');
        }
    }
    Write {
        path,
        content: Some(content),
        secret: false,
    }
}

fn secret(path: PathBuf, pem: &str) -> Write {
    Write {
        secret: true,
        ..public(path, &[pem])
    }
}
