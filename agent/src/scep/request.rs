//! `convoy-agent scep request`: a manual request (C2), by the running agent, or by the command itself where none runs. Who may ask is whoever owns the state folder (C1.3).

use std::{
    fs::File,
    io::{BufRead as _, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use convoy_shared::{
    enrolment::RequestState,
    settings::{ChallengeSource, KeyLength, KeyUse, ScepPatch, SignatureHash},
};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    Scep, Start,
    engine::Wish,
    rules::{Believed, Rules},
    socket::{self, Asked, Told},
    store::Store,
};
use crate::{disk::StateDir, state::State};

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
    /// File with the challenge password; `-` reads it from standard input. Without it, it is asked for on a terminal, or obtained as the settings say
    #[arg(long, value_name = "FILE")]
    challenge_file: Option<PathBuf>,
    /// Restart the device, or the service that uses the key, afterwards
    #[arg(long)]
    restart: bool,
}

impl Flags {
    fn patch(&self) -> ScepPatch {
        let sans = Some(&self.subject_alt_names).filter(|sans| !sans.is_empty());
        ScepPatch {
            key_name: self.key_name.clone(),
            signature_algorithm: self.signature_algorithm,
            key_length: self.key_length,
            organization: self.organization.clone(),
            common_name: self.common_name.clone(),
            subject_alt_names: sans.cloned(),
            key_use: self.key_use,
            ipsec_destination: self.ipsec_destination.clone(),
            ..ScepPatch::default()
        }
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
    let patch = flags.patch();
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

/// Reads a line from the terminal without showing it.
fn prompt(text: &mut Zeroizing<String>) -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    let mut stderr = std::io::stderr();
    stderr.write_all(b"Challenge password (empty: as the settings say): ")?;
    stderr.flush()?;
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let read = stdin.lock().read_line(text);
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    stderr.write_all(b"\n")?;
    read?;
    Ok(())
}
