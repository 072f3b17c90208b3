//! How the controller ends: everybody is told once, and the tasks that run are waited for. What each does when it is told is its own.

use std::{future::Future, time::Duration};

use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tells tasks to end, and waits for them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Stopping {
    asked: CancellationToken,
    tasks: TaskTracker,
}

impl Stopping {
    /// Returns when the controller is to end.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Runs a task that ends by itself some time after it is asked to.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(task));
    }

    /// Runs a task that may be dropped wherever it waits, when the controller is to end.
    pub fn spawn_until_asked(&self, task: impl Future<Output = ()> + Send + 'static) {
        let asked = self.asked.clone();
        self.spawn(async move {
            let _ = asked.run_until_cancelled(task).await;
        });
    }

    /// Tells all.
    pub fn ask(&self) {
        self.asked.cancel();
        self.tasks.close();
    }

    /// Waits for all tasks to end; how many have not by then.
    pub async fn ended(&self, within: Duration) -> usize {
        match timeout(within, self.tasks.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tasks.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tasks_are_told_once_and_waited_for() {
        let stopping = Stopping::default();
        let orderly = stopping.clone();
        stopping.spawn(async move {
            orderly.asked().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        stopping.spawn_until_asked(std::future::pending());
        stopping.ask();
        assert_eq!(stopping.ended(Duration::from_secs(2)).await, 0);

        let stuck = Stopping::default();
        stuck.spawn(std::future::pending());
        stuck.ask();
        assert_eq!(stuck.ended(Duration::from_secs(2)).await, 1);
    }
}
