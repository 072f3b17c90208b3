//! Server certificates beside their keys, each in a file of its own: where only the journal was put back from an older copy, they are still here. Keys
//! never live here.

use std::{fs, io};

use convoy_fleet::{
    decide::Command,
    event::{Actor, Entry, Event, Imported},
    state::KeptCertificate,
};
use convoy_proto::journal::{decode_entry, encode_entry};
use convoy_shared::id::{Digest, Generation};

use crate::{
    folder::{Folder, FolderError},
    keeper::{Keeper, KeeperError},
    keys,
};

const FOLDER: &str = "certificates";

/// Keeps a certificate beside its key, before anybody is told to trust nothing else.
///
/// # Errors
/// As the operating system says.
pub fn keep(
    folder: &Folder,
    generation: Generation,
    kept: &KeptCertificate,
) -> Result<(), FolderError> {
    let entry = Entry {
        time: kept.imported_at,
        actor: Actor::Controller,
        request: None,
        replica: String::new(),
        events: vec![Event::CertificateImported(Imported {
            generation,
            anchor: kept.anchor,
            certificate: kept.certificate.clone(),
        })],
    };
    let name = name(&kept.certificate.fingerprint);
    let bytes = encode_entry(&entry);
    if fs::read(folder.join(&name)).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    folder.make(FOLDER)?;
    folder.write(&name, &bytes)
}

/// Forgets a certificate that is served to nobody any more, so that no older journal takes it up again.
pub fn forget(folder: &Folder, fingerprint: &Digest) {
    let path = folder.join(&name(fingerprint));
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a retired certificate");
        }
    }
}

/// Takes up every certificate that lies here with its key, and that the journal does not know.
///
/// # Errors
/// If the journal cannot be written.
pub async fn adopt(folder: &Folder, keeper: &Keeper) -> Result<(), KeeperError> {
    let mut found = found(folder);
    found.sort_by_key(|imported| imported.generation);
    for imported in found {
        let fingerprint = imported.certificate.fingerprint;
        if keeper.read().certificate_of(&fingerprint).is_some() {
            continue;
        }
        if let Err(error) = keys::server_key(folder, &imported.certificate.spki) {
            tracing::warn!(%fingerprint, %error, "a certificate that the journal does not know lies here without its key");
            continue;
        }
        tracing::warn!(
            generation = imported.generation.0, %fingerprint,
            "a certificate and its key are here that the journal does not know: they are served to clients that trust nothing else"
        );
        let command = Command::AdoptCertificate(imported);
        keeper.command(command, Actor::Controller, None).await?;
    }
    Ok(())
}

fn found(folder: &Folder) -> Vec<Imported> {
    let Ok(entries) = fs::read_dir(folder.join(FOLDER)) else {
        return vec![];
    };
    entries
        .flatten()
        .filter(|entry| entry.path().extension().is_none())
        .filter_map(|entry| {
            let read = fs::read(entry.path())
                .ok()
                .and_then(|bytes| decode_entry(&bytes).ok())
                .and_then(|entry| entry.events.into_iter().next());
            match read {
                Some(Event::CertificateImported(imported)) => Some(imported),
                Some(_) | None => {
                    tracing::warn!(path = %entry.path().display(), "a damaged certificate is left out");
                    None
                }
            }
        })
        .collect()
}

fn name(fingerprint: &Digest) -> String {
    format!("{FOLDER}/{fingerprint}")
}
