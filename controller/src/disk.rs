//! What a disk without room, or one that fails, means to the controller, in words, and the look whether there is room again. Nothing is written here.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    health::{Degraded, Health},
    journal::{Cause, redb::file::is_short_of_space},
};

/// So often it is looked whether there is room again,
const LOOK: Duration = Duration::from_secs(2);
/// and so many bytes are room.
const ROOM: u64 = 1024 * 1024;

/// Says that the journal cannot be written.
pub fn say(health: &Health, cause: &Cause) {
    if is_short_of_space(cause) {
        health.say(
            Degraded::DiskFull,
            "the disk of the data folder is full. Certificates are served and clients stay connected; nothing can be written down, so that nobody \
             joins, nothing that a client shows counts, no command is done and no phase begins. Make room on it: the controller goes on by itself",
        );
    } else {
        health.say(
            Degraded::Journal,
            format!(
                "the journal cannot be written: {}. Nothing is decided until it can; it is tried again with all that comes. Look at the disk",
                told(cause)
            ),
        );
    }
}

/// It can be written.
pub fn clear(health: &Health) {
    health.clear(Degraded::DiskFull);
    health.clear(Degraded::Journal);
}

/// Looks for room as long as the controller runs, so that a disk that has room again is not called full until somebody wants to write.
pub async fn watch(folder: PathBuf, health: Health) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if health.is(Degraded::DiskFull) && has_room(&folder) {
            health.clear(Degraded::DiskFull);
        }
    }
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|free| free.f_bavail.saturating_mul(free.f_frsize) >= ROOM)
}

/// An error with its causes.
fn told(cause: &Cause) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(error) = next {
        text += &format!(": {error}");
        next = error.source();
    }
    text
}
