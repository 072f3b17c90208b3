//! Writes down beside the journal who is connected, from where, and when each client was last seen, so that a restart knows it. What is known lives in
//! `sessions`; nothing here decides anything.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::redb::{Database, ReadableTable as _, TableDefinition};
use convoy_fleet::{
    client::ClientNumber,
    presence::{Presence, Seen, SessionState},
};
use jiff::Timestamp;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    journal::{
        Cause,
        redb::file::{self, calmly, storage},
    },
    sessions::Sessions,
};

/// Clients by number: what has become of the session (0: ended, 1: open, 2: interrupted), since (seconds and nanoseconds), address.
const CLIENTS: TableDefinition<'_, ClientNumber, (u8, i64, i32, &str)> =
    TableDefinition::new("clients");
type Clients<'a> = ::redb::Table<'a, ClientNumber, (u8, i64, i32, &'static str)>;
/// When those whose session is open were looked at last: seconds and nanoseconds.
const LOOKED: TableDefinition<'_, (), (i64, i32)> = TableDefinition::new("looked");
/// "Last seen" of a client that is connected is exact to so long.
const LOOK: Duration = Duration::from_secs(60);
/// The table is written so often at most: what comes meanwhile is written together.
const AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// The table in its file.
pub struct Table {
    path: PathBuf,
    sessions: Arc<Sessions>,
    /// `None` when it could not be opened or written: the next time it is opened anew.
    database: Mutex<Option<Database>>,
}

impl Table {
    /// Opens the table, and tells the sessions what was known when the controller stopped. What cannot be read is begun anew, and said: nothing depends
    /// on it but what is shown, and who is expected back after a swap that was under way. Clients from `next` on are of another journal, and are
    /// forgotten. Blocks.
    #[must_use]
    pub fn open(path: PathBuf, sessions: Arc<Sessions>, next: ClientNumber) -> Self {
        let opened = match recall(&path, next) {
            Err(error) if !file::is_short_of_space(&error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    path = %path.display(),
                    "who was connected, and when clients were last seen, cannot be read: it is begun anew"
                );
                std::fs::remove_file(&path)
                    .map_err(Cause::from)
                    .and_then(|()| recall(&path, next))
            }
            opened => opened,
        };
        let database = match opened {
            Ok((database, presence)) => {
                sessions.recall(presence);
                Some(database)
            }
            Err(error) => {
                warn(&error);
                None
            }
        };
        Self {
            path,
            sessions,
            database: Mutex::new(database),
        }
    }

    /// Writes down what has changed, as long as the controller runs.
    pub async fn run(self: Arc<Self>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            tokio::select! {
                () = self.sessions.changed() => {}
                _ = looks.tick() => self.sessions.look(),
            }
            let table = Arc::clone(&self);
            let saved = match spawn_blocking(move || table.save()).await {
                Ok(saved) => saved,
                Err(stopped) => Err(stopped.into()),
            };
            let unwell = saved.is_err();
            match saved {
                Ok(clients) => tracing::debug!(clients, "presence saved"),
                Err(error) if !failed => warn(&error),
                Err(error) => tracing::debug!(error = format!("{error:#}"), "presence not saved"),
            }
            failed = unwell;
            sleep(AT_MOST_EVERY).await;
        }
    }

    /// Writes down what has changed. Blocks.
    ///
    /// # Errors
    /// If the disk fails: it is tried again with the next change.
    pub fn save(&self) -> Result<usize, Cause> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let (changed, looked) = self.sessions.changes();
        let count = changed.len();
        let written = calmly(|| {
            let database = match slot.take() {
                Some(database) => database,
                None => file::open(&self.path)?,
            };
            write(&database, &changed, looked)?;
            *slot = Some(database);
            Ok(count)
        });
        if written.is_err() {
            *slot = None;
            self.sessions
                .unchanged(changed.into_iter().map(|(client, _)| client));
        }
        written
    }
}

fn warn(error: &Cause) {
    tracing::warn!(
        error = format!("{error:#}"),
        "who is connected, and when clients were last seen, cannot be written down: it is tried again, and a restart would not know it"
    );
}

fn write(
    database: &Database,
    changed: &[(ClientNumber, Seen)],
    looked: Option<Timestamp>,
) -> Result<(), Cause> {
    let transaction = file::begin_write(database)?;
    {
        let mut clients = transaction.open_table(CLIENTS).map_err(storage)?;
        for (client, seen) in changed {
            insert(&mut clients, *client, seen)?;
        }
        if let Some(looked) = looked {
            let mut table = transaction.open_table(LOOKED).map_err(storage)?;
            let at = (looked.as_second(), looked.subsec_nanosecond());
            table.insert((), at).map_err(storage)?;
        }
    }
    transaction.commit().map_err(storage)
}

fn insert(table: &mut Clients<'_>, client: ClientNumber, seen: &Seen) -> Result<(), Cause> {
    let address = seen.address.to_string();
    let row = (
        match seen.session {
            SessionState::Ended => 0,
            SessionState::Open => 1,
            SessionState::Interrupted => 2,
        },
        seen.since.as_second(),
        seen.since.subsec_nanosecond(),
        address.as_str(),
    );
    table.insert(client, row).map_err(storage)?;
    Ok(())
}

fn recall(path: &std::path::Path, next: ClientNumber) -> Result<(Database, Presence), Cause> {
    calmly(|| {
        let database = file::open(path)?;
        let transaction = file::begin_write(&database)?;
        let presence = {
            let mut clients = transaction.open_table(CLIENTS).map_err(storage)?;
            clients.retain_in(next.., |_, _| false).map_err(storage)?;
            let mut known = Vec::new();
            for row in clients.iter().map_err(storage)? {
                let (client, row) = row.map_err(storage)?;
                known.push((client.value(), read(row.value())?));
            }
            let looked = transaction.open_table(LOOKED).map_err(storage)?;
            let looked = match looked.get(()).map_err(storage)? {
                None => None,
                Some(at) => {
                    let (second, nanosecond) = at.value();
                    Some(Timestamp::new(second, nanosecond)?)
                }
            };
            let presence = Presence::after_restart(known, looked);
            // Else the next restart would take them for connected until then.
            for client in presence.expected() {
                if let Some(seen) = presence.of(client) {
                    insert(&mut clients, client, &seen)?;
                }
            }
            presence
        };
        transaction.commit().map_err(storage)?;
        Ok((database, presence))
    })
}

fn read((session, second, nanosecond, address): (u8, i64, i32, &str)) -> Result<Seen, Cause> {
    Ok(Seen {
        session: match session {
            0 => SessionState::Ended,
            1 => SessionState::Open,
            2 => SessionState::Interrupted,
            other => return Err(format!("a session cannot be in state {other}").into()),
        },
        since: Timestamp::new(second, nanosecond)?,
        address: address.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const NOBODY: ClientNumber = 0;

    fn table(path: &std::path::Path, next: ClientNumber) -> (Table, Arc<Sessions>) {
        let sessions = Arc::new(Sessions::default());
        let table = Table::open(path.to_owned(), Arc::clone(&sessions), next);
        (table, sessions)
    }

    #[test]
    fn what_is_known_lasts_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("presence.redb");
        let (before, sessions) = table(&path, 3);
        let (_one, _) = sessions.open(1, HERE);
        let (two, _) = sessions.open(2, HERE);
        drop(two);
        assert_eq!(before.save().expect("saved"), 2);
        assert_eq!(before.save().expect("saved"), 0);
        let seen = [1, 2].map(|client| sessions.last_seen(client));
        drop(before);

        let (after, sessions) = table(&path, 3);
        assert_eq!([1, 2].map(|client| sessions.last_seen(client)), seen);
        assert_eq!(sessions.expected(), [1].into_iter().collect());
        assert!(sessions.clients().is_empty());
        drop(after);

        // A journal that knows one client less is another one.
        let (_after, sessions) = table(&path, 2);
        assert_eq!(sessions.seen(2), None);
    }

    #[test]
    fn a_damaged_table_is_begun_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("presence.redb");
        std::fs::write(&path, b"no table").expect("written");
        let (table, sessions) = table(&path, NOBODY);
        let (_one, _) = sessions.open(1, HERE);
        assert_eq!(table.save().expect("saved"), 1);
    }
}
