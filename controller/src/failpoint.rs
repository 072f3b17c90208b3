//! Named steps at which a test can hold the controller and kill it. Absent from release builds.

/// Stops here for good if the environment's `CONVOY_FAILPOINT` names this step; says so in the file that `CONVOY_FAILPOINT_FILE` names.
#[cfg(debug_assertions)]
pub async fn hold(step: &str) {
    if std::env::var("CONVOY_FAILPOINT").is_ok_and(|name| name == step) {
        if let Ok(file) = std::env::var("CONVOY_FAILPOINT_FILE")
            && let Err(error) = std::fs::write(&file, step)
        {
            tracing::error!(%error, file, "cannot say that a failpoint holds");
        }
        tracing::warn!(step, "held by a failpoint");
        std::future::pending::<()>().await;
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[expect(clippy::unused_async, reason = "the same signature as in other builds")]
pub async fn hold(_step: &str) {}
