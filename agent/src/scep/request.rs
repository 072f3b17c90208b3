//! `convoy-agent scep request`: a manual request (C2), by the running agent, or by the command itself where none runs. Who may ask is whoever owns the state folder (C1.3).

use std::{
    fs::File,
    io::{BufRead, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use convoy_scep::certificate::Certificate;
use convoy_shared::{
    enrolment::RequestState,
    id::Digest,
    settings::{CaPin, ChallengeSource, KeyLength, KeyUse, ScepPatch, SignatureHash},
};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::sync::watch;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    Scep, Start,
    engine::Wish,
    rules::{Believed, Rules},
    socket::{self, Asked, Told},
    store::Store,
};
use crate::{disk::StateDir, key::IdentityKey, state::State};

/// What differs from the settings that the device obeys. Nothing of it is stored.
#[derive(Args, Default)]
pub(crate) struct Flags {
    /// Key name, easy to find in the list
    #[arg(long, value_name = "NAME")]
    key_name: Option<String>,
    /// Hash of the signature: SHA-256, SHA-384 or SHA-512
    #[arg(long, value_name = "HASH")]
    signature_algorithm: Option<SignatureHash>,
    /// Length of the RSA key in bits: 2048, 3072 or 4096
    #[arg(long, value_name = "BITS")]
    key_length: Option<KeyLength>,
    /// Organization (O) of the subject
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// Common name (CN) of the subject: an IP address or FQDN, or a template of {hostname}, {fqdn}, {ip} and {serial}
    #[arg(long, value_name = "NAME")]
    common_name: Option<String>,
    /// Subject alternative name: dns:NAME, ip:ADDRESS or uri:URI. Can be repeated
    #[arg(long = "san", value_name = "NAME")]
    subject_alt_names: Vec<String>,
    /// Key use location: None, TLS, IPSec or "IEEE 802.1X"
    #[arg(long, value_name = "LOCATION")]
    key_use: Option<KeyUse>,
    /// With IPSec: the destination, from the device's list
    #[arg(long, value_name = "NAME")]
    ipsec_destination: Option<String>,
    /// The CA's certificate by its SHA-256 (64 hex digits), or "any": whatever CA answers is believed, and may read the challenge password
    #[arg(long, value_name = "HEX|any", conflicts_with = "ca_certificate")]
    ca_fingerprint: Option<CaPin>,
    /// The CA's certificate, PEM or DER, in place of its fingerprint
    #[arg(long, value_name = "FILE")]
    ca_certificate: Option<PathBuf>,
    /// File with the challenge password; `-` reads it from standard input. Without it, it is asked for on a terminal, or obtained as the settings say
    #[arg(long, value_name = "FILE")]
    challenge_file: Option<PathBuf>,
    /// Restart the device, or the service that uses the key, afterwards
    #[arg(long)]
    restart: bool,
}

impl Flags {
    fn patch(&self) -> anyhow::Result<ScepPatch> {
        let sans = Some(&self.subject_alt_names).filter(|sans| !sans.is_empty());
        let ca_fingerprint = match &self.ca_certificate {
            Some(path) => Some(fingerprint(path)?),
            None => self.ca_fingerprint,
        };
        Ok(ScepPatch {
            ca_fingerprint,
            key_name: self.key_name.clone(),
            signature_algorithm: self.signature_algorithm,
            key_length: self.key_length,
            organization: self.organization.clone(),
            common_name: self.common_name.clone(),
            subject_alt_names: sans.cloned(),
            key_use: self.key_use,
            ipsec_destination: self.ipsec_destination.clone(),
            ..ScepPatch::default()
        })
    }
}

/// What the CA of a file is known by.
fn fingerprint(path: &Path) -> anyhow::Result<CaPin> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pem = std::str::from_utf8(&bytes).ok();
    let certificates = match pem.and_then(|text| Certificate::from_pem_chain(text).ok()) {
        Some(certificates) => certificates,
        None => vec![
            Certificate::from_der(&bytes)
                .with_context(|| format!("{} is no certificate, PEM or DER", path.display()))?,
        ],
    };
    match certificates.as_slice() {
        [certificate] => Ok(CaPin::Sha256(Digest::new(certificate.fingerprint()))),
        other => bail!(
            "{} has {} certificates: the CA's alone is wanted",
            path.display(),
            other.len()
        ),
    }
}

/// Makes the request, and says what becomes of it. Whether it brought a certificate.
pub(crate) async fn request(
    dir: &StateDir,
    configuration: &Path,
    flags: Flags,
    mut say: impl FnMut(&str),
) -> anyhow::Result<bool> {
    let state = State::load(dir)?;
    let rules = match Store::find(dir)? {
        Some(store) => Rules::load(&store, &Believed::of(&state))?,
        None => Rules::default(),
    };
    // Before anything is asked; the agent looks again.
    ensure!(
        !rules.settings.timer,
        "the auto-request timer is on: turn it off first"
    );
    let patch = flags.patch()?;
    patch.over(&rules.settings).check()?;
    let challenge = challenge(&flags, rules.settings.challenge)?;
    if dir.is_held() {
        let asked = Asked::Request {
            patch: Box::new(patch),
            challenge: challenge.to_string(),
            restart: flags.restart,
        };
        let mut answers = socket::ask(dir, asked)
            .await
            .context("the agent runs, and cannot be talked to")?;
        while let Some(told) = answers.next().await? {
            if let Some(ok) = tell(told, &mut say)? {
                return Ok(ok);
            }
        }
        bail!("the agent has ended, and the request with it");
    }
    let _lock = dir.lock()?;
    let (stop, asked) = watch::channel(false);
    let start = Start {
        dir,
        state: &state,
        key: &IdentityKey::load(dir)?,
        clock: &state.clock(),
        configuration,
        timers: false,
    };
    let (scep, engine) = Scep::start(&start, asked)?;
    let wish = Wish {
        patch,
        challenge: socket::read_challenge(challenge.to_string()).map_err(anyhow::Error::msg)?,
        restart: flags.restart,
    };
    let mut follow = socket::follow(&scep, wish).await;
    let mut ok = false;
    while let Some(told) = follow.next().await {
        ok = tell(told, &mut say)?.unwrap_or(ok);
    }
    stop.send_replace(true);
    engine.await?;
    Ok(ok)
}

/// Says it; how it ended, if it did.
fn tell(told: Told, say: &mut impl FnMut(&str)) -> anyhow::Result<Option<bool>> {
    match told {
        Told::Refused(why) => bail!(why),
        Told::Attempt { attempt, warnings } => {
            say(&format!("request {attempt} begins"));
            for warning in warnings {
                say(&format!("warning: {warning}"));
            }
            Ok(None)
        }
        Told::Status {
            status,
            details,
            cause,
            warnings,
        } => {
            let gap = if details.is_empty() { "" } else { "  " };
            say(&format!("{status}{gap}{details}"));
            if let Some(cause) = cause {
                say(&format!("cause: {cause}"));
            }
            let processing = RequestState::Processing {
                polls: 0,
                waiting: None,
            };
            // They stay, and are said once, at the end.
            let over = status != processing.word();
            for warning in warnings.iter().filter(|_| over) {
                say(&format!("warning: {warning}"));
            }
            Ok(None)
        }
        Told::Done { ok } => Ok(Some(ok)),
    }
}

/// The challenge password as given; empty: to be obtained as the settings say.
fn challenge(flags: &Flags, source: ChallengeSource) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    match &flags.challenge_file {
        Some(path) if path.as_os_str() == "-" => {
            std::io::stdin().take(4096).read_to_string(&mut text)?;
        }
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            file.take(4096)
                .read_to_string(&mut text)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        None if source != ChallengeSource::None && std::io::stdin().is_terminal() => {
            prompt(&mut text)?;
        }
        None => {}
    }
    while text.ends_with(['\r', '\n']) {
        text.pop();
    }
    Ok(text)
}

/// Reads a line from the terminal without showing it. Ctrl-C gives up, and leaves the terminal as it was.
fn prompt(text: &mut Zeroizing<String>) -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    let mut stderr = std::io::stderr();
    stderr.write_all(b"Challenge password (empty: as the settings say): ")?;
    stderr.flush()?;
    let shown = Shown {
        attributes: tcgetattr(&stdin)?,
        terminal: &stdin,
    };
    let keys = Keys::of(&shown.attributes);
    let mut hidden = shown.attributes.clone();
    // Key by key, and Ctrl-C as a key: a signal would end the process before the terminal shows again what is typed.
    hidden
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ISIG | LocalModes::ICANON);
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let typed = typed(stdin.lock(), &keys);
    drop(shown);
    stderr.write_all(b"\n")?;
    text.push_str(std::str::from_utf8(&typed?).context("the challenge password is no UTF-8")?);
    Ok(())
}

/// Sets a terminal back to how it was, whatever happens.
struct Shown<'a> {
    terminal: &'a std::io::Stdin,
    attributes: Termios,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let set = tcsetattr(self.terminal, OptionalActions::Flush, &self.attributes);
        if let Err(error) = set {
            tracing::warn!(%error, "cannot set the terminal back: `stty sane` does");
        }
    }
}

/// What the terminal's special keys send. 0: there is none.
struct Keys {
    give_up: [u8; 3],
    end: u8,
    erase: u8,
    kill: u8,
}

impl Keys {
    fn of(attributes: &Termios) -> Self {
        let code = |index| attributes.special_codes[index];
        Self {
            give_up: [
                code(SpecialCodeIndex::VINTR),
                code(SpecialCodeIndex::VQUIT),
                code(SpecialCodeIndex::VSUSP),
            ],
            end: code(SpecialCodeIndex::VEOF),
            erase: code(SpecialCodeIndex::VERASE),
            kill: code(SpecialCodeIndex::VKILL),
        }
    }
}

/// The longest line that is read.
const LONGEST: usize = 4096;

/// A line, typed key by key.
fn typed(input: impl BufRead, keys: &Keys) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    for byte in input.bytes() {
        match byte? {
            b'\n' | b'\r' => break,
            0 => {}
            byte if keys.give_up.contains(&byte) => bail!("given up; nothing was requested"),
            byte if byte == keys.end => break,
            byte if byte == keys.kill => line.zeroize(),
            byte if byte == keys.erase || byte == 0x08 => {
                // With all bytes of a character that has several.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => {
                ensure!(line.len() < LONGEST, "the challenge password is too long");
                line.push(byte);
            }
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_given_by_its_fingerprint_or_by_its_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.crt");
        let key = convoy_scep::key::RsaKey::generate(2048).expect("a key");
        let (begin, end) = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::MAX);
        let ca = convoy_scep::issue::Authority::self_signed("CA", None, key, &[1], begin, end)
            .expect("a CA")
            .certificate;
        let expected = CaPin::Sha256(Digest::new(ca.fingerprint()));
        let flags = Flags {
            ca_certificate: Some(path.clone()),
            ..Flags::default()
        };
        for bytes in [ca.to_pem().as_bytes(), ca.to_der()] {
            std::fs::write(&path, bytes).expect("written");
            let patch = flags.patch().expect("a patch");
            assert_eq!(patch.ca_fingerprint, Some(expected));
        }
        for bytes in [ca.to_pem().repeat(2), "no certificate".to_owned()] {
            std::fs::write(&path, bytes).expect("written");
            assert!(flags.patch().is_err());
        }
    }

    const KEYS: Keys = Keys {
        give_up: [3, 0x1c, 0x1a],
        end: 4,
        erase: 0x7f,
        kill: 0x15,
    };

    #[test]
    fn a_hidden_line_is_edited_as_any_other_and_ctrl_c_gives_up() {
        for (keys, line) in [
            (&b"secret\nmore"[..], "secret"),
            (b"\r", ""),
            (b"sek\x7fcret\x04", "secret"),
            (b"wrong\x15s\xc3\xa9\x7fecret", "secret"),
            (b"\x7f\x08secret\n", "secret"),
        ] {
            let typed = typed(keys, &KEYS).expect("a line");
            assert_eq!(typed.as_slice(), line.as_bytes());
        }
        for keys in [&b"\x03"[..], b"sec\x03ret\n", b"sec\x1c", b"sec\x1a"] {
            let error = typed(keys, &KEYS).expect_err("given up");
            assert!(error.to_string().contains("nothing was requested"));
        }
        typed(&[b'x'; LONGEST + 1][..], &KEYS).expect_err("too long");
        // A key that the terminal does not have is not pressed by what has no code.
        let none = Keys {
            give_up: [0; 3],
            end: 0,
            erase: 0,
            kill: 0,
        };
        let typed = typed(&b"se\0cret\n"[..], &none).expect("a line");
        assert_eq!(typed.as_slice(), b"secret");
    }
}
