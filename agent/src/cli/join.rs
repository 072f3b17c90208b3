//! `convoy-agent join`: reads the token, asks whoever types where it must, and says what came of it. What joining does is decided elsewhere.

use std::{
    io::{self, IsTerminal as _, Read as _},
    process::ExitCode,
};

use clap::Args;
use convoy_shared::token::JoinToken;
use zeroize::Zeroizing;

use super::{StateFolder, note, print};
use crate::{
    disk::StateDir,
    join::{self, Change, How, Joined},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// What `convoy token create` printed; `-` reads it from standard input, so that it shows in no process list
    token: String,
    #[command(flatten)]
    state: StateFolder,
    /// What people call this host [default: its host name]. A client that joins again keeps its name
    #[arg(long)]
    name: Option<String>,
    /// Leave the fleet whose controller is lost without a backup, and become a client of the token's fleet. For root and the folder's owner; asks at a terminal.
    /// The old state is kept aside
    #[arg(long)]
    replace_fleet: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let token = read_token(arguments.token)?;
    let name = arguments
        .name
        .clone()
        .unwrap_or_else(|| gethostname::gethostname().to_string_lossy().into_owned());
    let dir = StateDir::create(&arguments.state.state_dir)?;
    let mut ask = confirm;
    let replace: Option<&mut join::Confirm<'_>> = if arguments.replace_fleet {
        Some(&mut ask)
    } else {
        None
    };
    let joined = join::join(&dir, &token, &name, replace).await?;
    let renamed = arguments.name.is_some_and(|name| name != joined.state.name);
    note(&told(&joined, &dir));
    if renamed {
        note(&format!(
            "the client keeps its name, {}: --name is for a new one",
            joined.state.name
        ));
    }
    print(&format!("{}\n", joined.state.client_id))?;
    Ok(ExitCode::SUCCESS)
}

fn told(joined: &Joined, dir: &StateDir) -> String {
    let (name, group) = (&joined.state.name, &joined.state.group);
    let start = format!(
        "now start `convoy-agent run --state-dir {}`",
        dir.path().display()
    );
    match &joined.how {
        How::New => format!("joined as {name} in the group {group}; {start}"),
        How::InPlace => format!(
            "joined again as {name} in the group {group}: the same client, with the present trust; {start}"
        ),
        How::AlreadyThere => format!(
            "already joined as {name} in the group {group}, and it can connect: nothing was changed; {start}. To make a second client of this host, use another \
             --state-dir"
        ),
        How::Replaced(aside) => format!(
            "joined as {name} in the group {group} of another fleet, as a new client; the state of the old one lies in {}; {start}",
            aside.display()
        ),
    }
}

/// Asks at the terminal whether the client is to leave its fleet.
fn confirm(change: &Change) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other(
            "--replace-fleet asks at a terminal, and standard input is none; give the token as an argument",
        ));
    }
    note(&format!(
        "The client {} ({}) is of the fleet {}, whose controller does not answer.\n\
         It leaves that fleet for good, and becomes a new client of the fleet {}: everything that it trusts is replaced.\n\
         This is for a controller that is lost without a backup. Where there is a backup, restore that instead.\n\
         Type the client's name ({}) to go on:",
        change.name, change.client, change.from, change.to, change.name
    ));
    let mut typed = String::new();
    io::stdin().read_line(&mut typed)?;
    Ok(typed.trim_end_matches(['\r', '\n']) == change.name)
}

fn read_token(argument: String) -> anyhow::Result<JoinToken> {
    let mut text = Zeroizing::new(argument);
    if *text == "-" {
        text.clear();
        text.reserve(8192);
        io::stdin().take(8192).read_to_string(&mut text)?;
    }
    Ok(text.parse()?)
}
