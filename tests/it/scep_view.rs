//! What devices and the controller show of certificate requests, and how a test tells them what to do.

use std::{fs, os::unix::fs::PermissionsExt as _};

use convoy_controller::clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::fleet::{Fleet, Said};

/// Settings for devices that know no name but their address, and poll as soon as can be.
pub(crate) const QUICK: [&str; 9] = [
    "--common-name",
    "{ip}",
    "--no-san",
    "--timeout",
    "20s",
    "--polls",
    "2",
    "--poll-interval",
    "1s",
];

impl Fleet {
    /// `convoy scep settings set`.
    #[track_caller]
    pub(crate) fn scep_set(&self, settings: &[&str]) -> String {
        self.ok(&[&["scep", "settings", "set"], settings].concat())
    }

    /// The default group's devices request here, as quickly as can be.
    #[track_caller]
    pub(crate) fn scep_at(&self, url: &str, settings: &[&str]) {
        self.scep_at_said(url, settings);
    }

    /// The same, and what people are told about it.
    #[track_caller]
    pub(crate) fn scep_at_said(&self, url: &str, settings: &[&str]) -> String {
        let set = ["scep", "settings", "set", "--server", url];
        let pin: &[&str] = if settings.contains(&"--ca-fingerprint") {
            &[]
        } else {
            &["--ca-fingerprint", "any"]
        };
        let said = self.convoy(&[&set[..], &QUICK[..], pin, settings].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said.stderr
    }

    /// A device's newest request, as the controller shows it.
    #[track_caller]
    pub(crate) fn scep(&self, name: &str) -> Value {
        let all = self.json(&["scep", "status"]);
        let mut all = all.as_array().expect("a list").iter();
        all.find(|status| status["name"] == name)
            .expect("a device")
            .clone()
    }

    /// `convoy-agent` with a device's state folder at the end.
    pub(crate) fn at_device(&self, name: &str, args: &[&str]) -> Said {
        let state = self.state_dir(name);
        let state = state.to_str().expect("UTF-8");
        self.agent(&[args, &["--state-dir", state]].concat())
    }

    fn device_json(&self, name: &str, what: &str) -> Value {
        let said = self.at_device(name, &["scep", what, "-o", "json"]);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.stdout).expect("JSON")
    }

    /// A device's requests as it shows them itself, newest first.
    pub(crate) fn device_requests(&self, name: &str) -> Value {
        self.device_json(name, "status")["requests"].clone()
    }

    /// A device's certificates as it shows them itself, newest first.
    pub(crate) fn device_certificates(&self, name: &str) -> Vec<Value> {
        let history = self.device_json(name, "history");
        history["certificates"].as_array().expect("a list").clone()
    }

    /// Waits until the controller shows this status of a device's newest request that was made.
    #[track_caller]
    pub(crate) fn await_scep(&mut self, name: &str, status: &str) -> Value {
        self.eventually(&format!("{name}: {status}"), |fleet| {
            let history = fleet.json(&["scep", "history", name]);
            let mut history = history.as_array().expect("a list").iter();
            let made = history.find(|request| request["status"] != "To Be Processed")?;
            (made["status"] == status).then(|| made.clone())
        })
    }

    /// Waits until a device has the settings that hold for it.
    pub(crate) fn await_settings(&mut self, name: &str) {
        self.eventually(&format!("{name} has its settings"), |fleet| {
            let shown = fleet.json(&["scep", "settings", "show", "--client", name]);
            (shown["held_revision"] == shown["revision"]).then_some(())
        });
    }

    /// Writes a device's own configuration.
    pub(crate) fn configure(&self, name: &str, text: &str) {
        let file = self.state_dir(name).join("agent.toml");
        fs::write(&file, text).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permitted");
    }

    /// The files of this fleet, from the temporary folder on, in which these bytes stand.
    pub(crate) fn files_with(&self, needle: &str) -> Vec<String> {
        let root = self.path("");
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = fs::read(&path)
                    && bytes
                        .windows(needle.len())
                        .any(|part| part == needle.as_bytes())
                {
                    let name = path.strip_prefix(&root).expect("below it");
                    found.push(name.to_str().expect("UTF-8").to_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// A file with a secret in it; its path.
    pub(crate) fn secret_file(&self, name: &str, secret: &str) -> String {
        let path = self.path(name);
        fs::write(&path, secret).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// So many seconds from now, as options want it.
pub(crate) fn soon(seconds: i64) -> Timestamp {
    let now = clock::now() + SignedDuration::from_secs(seconds);
    Timestamp::from_second(now.as_second()).expect("a time")
}

/// A time as JSON has it.
#[track_caller]
pub(crate) fn time(value: &Value) -> Timestamp {
    value.as_str().expect("a time").parse().expect("a time")
}
