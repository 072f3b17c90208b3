//! The certificate that the demo's operator brings, as any would from elsewhere: two PEM files. The controller's own are none
//! of its business.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rcgen::{CertificateParams, DnType, KeyPair};

/// Where the two files are.
#[derive(Debug)]
pub(crate) struct Brought {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Makes a key and a self-signed certificate for these names, and writes both to `folder`.
pub(crate) fn bring(folder: &Path, names: &[&str]) -> anyhow::Result<Brought> {
    let mut params = CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Convoy demo, brought by the operator");
    // Any span that holds today; the key is gone when the demo ends.
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let brought = Brought {
        certificate: folder.join("new.pem"),
        key: folder.join("new.key"),
    };
    write(&brought.certificate, &certificate.pem(), 0o644)?;
    write(&brought.key, &key.serialize_pem(), 0o600)?;
    Ok(brought)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn both_files_are_pem_and_the_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let brought = bring(folder.path(), &["127.0.0.1", "localhost"]).unwrap();
        let certificate = fs::read_to_string(&brought.certificate).unwrap();
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"));
        let key = fs::read_to_string(&brought.key).unwrap();
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
        let mode = fs::metadata(&brought.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
