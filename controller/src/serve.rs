//! Wiring: who knows whom, in the order in which it starts. Nothing else.

use std::{
    fs, io::IsTerminal as _, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use convoy_fleet::{clock::ClockCommand, decide::Command, event::Actor};
use convoy_host::stderr;
use convoy_proto::v1::agent_service_server::AgentServiceServer;
use convoy_scep::algorithm::Policy;
use convoy_shared::{
    address::{Address, Addresses},
    id::FleetId,
};
use jiff::Timestamp;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::timeout,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    agents::{Agents, AgentsService},
    api::{self, Api},
    args::Args,
    authority, beside,
    certificate::ServerCertificate,
    checks::Checks,
    clock, disk, documents, expiring,
    folder::Folder,
    health::Health,
    journal::redb::RedbJournal,
    keeper::Keeper,
    keys::{FleetKeys, store_server_key},
    lines::Paced,
    listener::{Listener, Port, Served, accept_local, addresses::Counting},
    metrics,
    pace::Paces,
    presence, pulse,
    readiness::Readiness,
    recovery::{self, Hints},
    refusals::Refusals,
    requests::{self, bounded},
    scep::{self, Counts, Scep, authority::Authorities, crl, device::Devices},
    sessions::Sessions,
    sights::Sights,
    stopping::Stopping,
    swap,
    tls::TlsConfigs,
    ways,
};

/// No fleet can have begun before this code was written: 2026-01-01T00:00:00Z.
const FIRST: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// The largest message from an agent.
const AGENT_MESSAGE: usize = 64 * 1024;
/// A controller that is told to stop has stopped by then.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Sends one line per event that matters to stderr, which must have been started.
pub fn trace(verbose: u8, counting: &Counting) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,convoy_controller={level}")));
    // Twice in one process, as in a test, is no harm.
    drop(
        tracing_subscriber::registry()
            .with(filter)
            .with(Paced::new(counting.clone()))
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(stderr::writer)
                    .with_ansi(std::io::stderr().is_terminal()),
            )
            .try_init(),
    );
}

/// Runs the controller until it is told to stop.
///
/// # Errors
/// If it cannot start; says why.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let names = args.server_names();
    let folder = Arc::new(Folder::lock(&args.data_dir)?);
    raise_limits();
    // Keys are there before the journal is, so that a journal without its keys has lost them; and a server's key comes after it, so that keys
    // without a journal have lost that.
    let journal = folder.join("journal.redb");
    let first = !journal.exists();
    let keys = Arc::new(FleetKeys::open(&folder, first)?);
    anyhow::ensure!(
        !first || folder.is_empty("keys/server")?,
        "{} holds the keys of a fleet, and no journal.redb; put it back from a backup, or give an empty folder",
        args.data_dir.display()
    );
    let journal = Arc::new(if args.accept_older_journal {
        RedbJournal::open_older(journal)?
    } else {
        RedbJournal::open(journal)?
    });
    let sessions = Arc::new(Sessions::default());
    let (keeper, unstarted) = Keeper::open(
        journal,
        Arc::clone(&keys),
        Arc::clone(&sessions),
        Health::default(),
    )
    .await?;
    let table = presence::Table::open(
        folder.join("presence.redb"),
        Arc::clone(&sessions),
        keeper.read().next_client(),
    );
    let table = Arc::new(table);
    if let Some(founded) = keeper.read().founded() {
        keys.check(founded)?;
    }
    // Before anything is decided by that clock.
    begin_clock(&keeper);
    unstarted.start();
    // The addresses of a new fleet have its port.
    let mut agents_sockets = Vec::with_capacity(args.agents_addr.len());
    let mut agents_at = Vec::with_capacity(args.agents_addr.len());
    for address in &args.agents_addr {
        let socket = bind(*address, "--agents-addr").await?;
        agents_at.push(socket.local_addr()?);
        agents_sockets.push(socket);
    }
    let first_port = agents_at.first().context("no --agents-addr")?.port();
    if keeper.read().founded().is_none() {
        found(&keeper, &folder, &keys, &names, first_port).await?;
    }
    warn_of_names(&keeper, &names);
    let start = Command::StartReplica {
        server_names: names,
        mark: clock::boot_mark(),
    };
    keeper.begin(start).await?;
    if args.accept_clock {
        accept_clock(&keeper).await?;
    }

    let client_ca = keeper
        .read()
        .founded()
        .map(|founded| founded.client_ca.clone())
        .context("the journal holds no fleet")?;
    let configs = Arc::new(TlsConfigs::new(Arc::clone(&folder), &client_ca)?);
    if let Err(error) = beside::adopt(&folder, &keeper).await {
        let error = anyhow::Error::from(error);
        tracing::error!(
            error = format!("{error:#}"),
            "certificates that the journal does not know cannot be taken up"
        );
    }
    swap::load_served(&keeper, &configs, &folder)?;
    let checks = Arc::new(Checks::default());
    let sights = Arc::new(Sights::default());
    let hints = Arc::new(Hints::default());
    let refusals = Arc::new(Refusals::default());
    let counting = Arc::new(args.counting());
    let paces = Arc::new(Paces::new(args.identity_validity.unsigned_abs()));
    let stopping = Stopping::default();

    let api_socket = bind(args.api_addr, "--api-addr").await?;
    let api_at = api_socket.local_addr()?;
    let local = local_socket(&folder)?;
    let scep_socket = match args.scep_addr {
        None => None,
        Some(address) => {
            let socket = bind(address, "--scep-addr").await?;
            let url = scep_url(&args.server_names(), socket.local_addr()?.port());
            Some((socket, url))
        }
    };
    let mut served_at: String = agents_at
        .iter()
        .map(|address| format!("agents {address}\n"))
        .collect();
    served_at += &format!("api {api_at}\n");

    let scep = Arc::new(Scep {
        keeper: keeper.clone(),
        keys: Arc::clone(&keys),
        folder: Arc::clone(&folder),
        url: scep_socket.as_ref().map(|(_, url)| url.clone()),
        policy: Policy {
            allow_legacy: args.scep_allow_legacy,
        },
        authorities: Authorities::default(),
        lists: crl::Kept::default(),
        counts: Counts::default(),
        devices: Devices::default(),
        paces: Arc::clone(&paces),
    });
    if let Some((socket, url)) = scep_socket {
        scep.make_first(args.scep_ca_key).await?;
        served_at += &format!("scep {}\n", socket.local_addr()?);
        tracing::info!(url, "serving SCEP");
        let server = scep::server::Server::new(
            Arc::clone(&scep),
            args.scep_rate,
            &counting,
            stopping.clone(),
        );
        stopping.spawn(server.run(socket));
    }
    let agents = AgentsService(Arc::new(Agents {
        keeper: keeper.clone(),
        keys: Arc::clone(&keys),
        checks: Arc::clone(&checks),
        sessions: Arc::clone(&sessions),
        sights: Arc::clone(&sights),
        hints: Arc::clone(&hints),
        scep: Arc::clone(&scep),
        identity_validity: args.identity_validity,
        paces,
        stopping: stopping.clone(),
    }));
    let agent_service = AgentServiceServer::new(agents).max_decoding_message_size(AGENT_MESSAGE);
    let agent_routes = api::explained(tonic::service::Routes::new(agent_service));
    let readiness = Readiness {
        keeper: keeper.clone(),
        configs: Arc::clone(&configs),
    };
    let agents_served = Served {
        clients: bounded(agent_routes.clone(), requests::CLIENTS),
        strangers: bounded(agent_routes, requests::STRANGERS),
    };
    let operator_routes = bounded(api::operator_routes().await?, requests::STRANGERS);
    let operators_served = Served {
        clients: operator_routes.clone(),
        strangers: operator_routes,
    };
    let api = Api {
        keeper: keeper.clone(),
        keys,
        folder: Arc::clone(&folder),
        sessions: Arc::clone(&sessions),
        sights,
        readiness: readiness.clone(),
        hints: Arc::clone(&hints),
        refusals: Arc::clone(&refusals),
        scep: Arc::clone(&scep),
    };
    let local_routes = bounded(api.local_routes().await?, requests::LOCAL);
    let listener = Arc::new(Listener::new(
        keeper.clone(),
        Arc::clone(&configs),
        checks,
        Arc::clone(&hints),
        Arc::clone(&refusals),
        &counting,
        stopping.clone(),
    ));
    let uid = rustix::process::geteuid().as_raw();

    if let Some(address) = args.metrics_addr {
        let socket = bind(address, "--metrics-addr").await?;
        served_at += &format!("metrics {}\n", socket.local_addr()?);
        let source = metrics::Source {
            readiness,
            sessions: Arc::clone(&sessions),
            scep: Arc::clone(&scep),
            refusals,
        };
        stopping.spawn_until_asked(metrics::run(socket, source));
    }
    stopping.spawn_until_asked(expiring::run(keeper.clone()));
    stopping.spawn_until_asked(swap::run(keeper.clone(), configs, Arc::clone(&folder)));
    stopping.spawn_until_asked(recovery::tell(keeper.clone(), Arc::clone(&hints)));
    stopping.spawn_until_asked(Arc::clone(&table).run());
    stopping.spawn_until_asked(pulse::run(keeper.clone()));
    stopping.spawn_until_asked(disk::watch(args.data_dir.clone(), keeper.health().clone()));
    stopping.spawn_until_asked(ways::run(keeper.clone()));
    for socket in agents_sockets {
        let listener = Arc::clone(&listener);
        stopping.spawn(listener.accept(socket, Port::Agents, agents_served.clone()));
    }
    stopping.spawn(listener.accept(api_socket, Port::Operators, operators_served));
    stopping.spawn(accept_local(local, uid, local_routes, stopping.clone()));

    // With port 0 nobody knows the addresses but the controller.
    if let Err(error) = folder.write("addresses", served_at.as_bytes()) {
        tracing::warn!(
            error = format!("{:#}", anyhow::Error::from(error)),
            "cannot write down where it serves"
        );
    }
    tracing::info!(agents = ?agents_at, api = %api_at, data_dir = %args.data_dir.display(), "serving");
    let mut signals = Signals::listen()?;
    signals.next().await;
    tracing::info!("stopping: sessions are told to come back later");
    sessions.stop();
    stopping.ask();
    drop(fs::remove_file(folder.join("convoy.sock")));
    drop(fs::remove_file(folder.join("addresses")));
    tokio::select! {
        left = end(&stopping, keeper, table) => match left? {
            0 => tracing::info!("stopped"),
            left => tracing::warn!(left, "stopped: what was still under way was cut"),
        },
        () = signals.next() => tracing::warn!("stopped at once, as asked twice"),
    }
    Ok(())
}

/// Waits for all tasks, and for what is written last; how many had not ended in time.
async fn end(
    stopping: &Stopping,
    keeper: Keeper,
    table: Arc<presence::Table>,
) -> anyhow::Result<usize> {
    let left = stopping.ended(STOP_WITHIN).await;
    if let Err(error) = spawn_blocking(move || table.save()).await? {
        tracing::warn!(%error, "who is connected cannot be written down");
    }
    if timeout(STOP_WITHIN, keeper.stop()).await.is_err() {
        tracing::warn!("the journal's last entry is still being written");
    }
    Ok(left)
}

/// Every agent is a file descriptor.
fn raise_limits() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// The time that is believed goes on from what the journal knows: agents take the controller's signed time for their lower bound of "now".
fn begin_clock(keeper: &Keeper) {
    let fleet = keeper.read();
    if let Some(newest) = fleet.clock().newest() {
        clock::begin(newest, fleet.clock().mark());
    }
}

/// The operator has started the controller in the knowledge that its wall clock is right.
async fn accept_clock(keeper: &Keeper) -> anyhow::Result<()> {
    if clock::read().doubt.is_some() {
        let confirm = ClockCommand::Confirm {
            time: clock::wall(),
            mark: clock::boot_mark(),
        };
        keeper
            .command(Command::Clock(confirm), Actor::Controller, None)
            .await?;
    }
    Ok(())
}

/// Begins a fleet: keys are on disk already, and everything else is one entry.
pub(crate) async fn found(
    keeper: &Keeper,
    folder: &Folder,
    keys: &FleetKeys,
    names: &[String],
    port: u16,
) -> anyhow::Result<()> {
    let now = clock::now();
    anyhow::ensure!(
        now >= FIRST,
        "the clock says {now:.0}: a fleet that begins then would have certificates that nobody accepts later. Set this host's clock, then start again"
    );
    let addresses = first_addresses(names, port)?;
    let fleet = FleetId::new(uuid::Uuid::new_v4());
    let made = authority::server_certificate(names, now)
        .context("cannot make a server certificate for these names")?;
    let server = ServerCertificate::check(vec![made.certificate], made.key, names, now)?;
    store_server_key(folder, &server.certificate.spki, server.key.secret_der())?;
    let command = Command::Found {
        fleet,
        root: documents::first_root(keys, fleet, now)?,
        client_ca: authority::client_ca(&keys.client_ca, fleet, now)?.to_vec(),
        certificate: server.certificate,
        server_names: names.to_vec(),
        addresses,
    };
    keeper.command(command, Actor::Controller, None).await?;
    Ok(())
}

/// Where clients of a new fleet are to reach the controller: by each of its names, at the agents' port.
fn first_addresses(names: &[String], port: u16) -> anyhow::Result<Addresses> {
    let addresses = names.iter().map(|name| {
        if name.contains(':') {
            format!("[{name}]:{port}").parse()
        } else {
            format!("{name}:{port}").parse()
        }
    });
    let addresses = addresses.collect::<Result<Vec<Address>, _>>()?;
    Addresses::of(addresses)
        .context("these names cannot be the addresses of a fleet: give others with --name")
}

/// The names may have changed since the certificate was made: agents pin its key and do not mind, others may.
fn warn_of_names(keeper: &Keeper, names: &[String]) {
    let fleet = keeper.read();
    let serving = fleet
        .serving()
        .and_then(|generation| fleet.certificate(generation));
    if let Some(kept) = serving {
        let missing = kept
            .certificate
            .chain
            .first()
            .map_or_else(Vec::new, |end_entity| {
                crate::certificate::uncovered(end_entity, names)
            });
        if !missing.is_empty() {
            tracing::warn!(
                ?missing,
                "the certificate that is served does not carry every --name: agents pin its key and still connect; import one that does, and rotate to it"
            );
        }
    }
}

/// Where devices reach the built-in SCEP server: under the controller's first name, as agents do.
fn scep_url(names: &[String], port: u16) -> String {
    let name = names.first().map_or("localhost", String::as_str);
    if name.contains(':') {
        format!("http://[{name}]:{port}/scep")
    } else {
        format!("http://{name}:{port}/scep")
    }
}

async fn bind(address: std::net::SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; is another program there? Give another {option}")
    })
}

/// The local socket. The folder's lock is ours, so that a socket that is there already is left from a controller that is gone.
fn local_socket(folder: &Folder) -> anyhow::Result<UnixListener> {
    let path = folder.join("convoy.sock");
    remove_stale(&path)?;
    let socket = UnixListener::bind(&path)
        .with_context(|| format!("cannot make the local socket {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    Ok(socket)
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot replace {}", path.display())),
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
