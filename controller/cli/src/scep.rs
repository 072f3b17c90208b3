//! `convoy scep`. What becomes of settings and requests is the controller's and the devices' to say; this asks and shows.

pub(crate) mod args;
pub(crate) mod audience;
pub(crate) mod authority;
mod challenges;
mod chart;
mod flags;
mod issued;
mod pem;
mod plan;
pub(crate) mod profiles;
mod record;
mod request;
mod requests;
pub(crate) mod settings;
mod status;
pub(crate) mod values;
pub(crate) mod watch;

use args::ScepCommand;

use crate::{connect::Session, failure::Failure, output::Screen};

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: ScepCommand,
) -> Result<(), Failure> {
    match command {
        ScepCommand::Settings { command } => settings::run(session, screen, *command).await,
        ScepCommand::Timer { command } => settings::timer(session, screen, command).await,
        ScepCommand::Request(request) => request::run(session, screen, *request).await,
        ScepCommand::Status { group, watch: true } => {
            let patience = crate::rotations::watch::Patience::OF_PEOPLE;
            watch::watch(session, screen, group.unwrap_or_default(), patience).await
        }
        ScepCommand::Status {
            group,
            watch: false,
        } => status::list(session, screen, group.unwrap_or_default()).await,
        ScepCommand::History { which } => status::history(session, screen, which.client).await,
        ScepCommand::Plan(plan) => plan::run(session, screen, *plan).await,
        ScepCommand::Ca { command } => authority::run(session, screen, command).await,
        ScepCommand::Approval { approval } => authority::approve(session, screen, approval).await,
        ScepCommand::Crl { der } => authority::crl(session, screen, der).await,
        ScepCommand::Challenge { command } => challenges::run(session, screen, *command).await,
        ScepCommand::Profile { command } => profiles::run(session, screen, command).await,
        ScepCommand::Requests { command } => requests::run(session, screen, command).await,
        ScepCommand::Issued { command } => issued::run(session, screen, command).await,
    }
}
