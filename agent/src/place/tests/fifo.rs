//! A FIFO between a test and the processes that it starts: what they say, until all are gone, and what they wait for. What a test proves stands in the
//! test, never here.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe::{OpenOptions, Receiver},
    time::timeout,
};

/// What has not been said by then will not be.
const PATIENCE: Duration = Duration::from_secs(20);

/// A FIFO that the test holds open at both ends: nobody who opens it has to wait.
pub(in crate::place) struct Fifo {
    path: PathBuf,
    held: Receiver,
}

impl Fifo {
    pub(in crate::place) fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).expect("made");
        let held = OpenOptions::new().read_write(true).open_receiver(&path);
        Self {
            path,
            held: held.expect("opened"),
        }
    }

    /// The next line that is said.
    pub(in crate::place) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let said = async {
            loop {
                match self.held.read_u8().await.expect("read") {
                    b'\n' => break,
                    byte => line.push(byte),
                }
            }
        };
        timeout(PATIENCE, said).await.expect("nothing was said");
        String::from_utf8(line).expect("UTF-8")
    }

    /// All that is still said, until no process is left that holds it for writing.
    pub(in crate::place) async fn rest(self) -> String {
        // Opened while there is a writer, so that the end of the last one is noticed.
        let mut all = OpenOptions::new()
            .open_receiver(&self.path)
            .expect("opened");
        drop(self.held);
        let mut said = String::new();
        timeout(PATIENCE, all.read_to_string(&mut said))
            .await
            .expect("somebody still holds it")
            .expect("read");
        said
    }

    /// Lets a process go on that reads a line.
    pub(in crate::place) fn release(&self) {
        std::fs::write(&self.path, "\n").expect("written");
    }
}

impl fmt::Display for Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
