//! Certificates of a fleet and rotations to them: how one is made, imported and rotated to, and what its rotation waits for. Nothing is proved here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Fleet;

impl Fleet {
    /// Makes a new certificate for the controller's names and imports it; its generation and fingerprint.
    #[track_caller]
    pub(crate) fn import_new(&self) -> (String, String) {
        let (certificate, key) = self.new_certificate("new", &["127.0.0.1", "localhost"]);
        let generation = self.import(&certificate, &key);
        let shown = self.json(&["cert", "show", &generation]);
        (
            generation,
            shown["fingerprint"].as_str().expect("hex").to_owned(),
        )
    }

    #[track_caller]
    pub(crate) fn import(&self, certificate: &Path, key: &Path) -> String {
        self.ok(&[
            "cert",
            "import",
            "--cert",
            certificate.to_str().expect("UTF-8"),
            "--key",
            key.to_str().expect("UTF-8"),
        ])
    }

    /// A self-signed certificate and its key as PEM files.
    pub(crate) fn new_certificate(&self, stem: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        self.pem_files(stem, &made.cert.pem(), &made.signing_key.serialize_pem())
    }

    pub(crate) fn pem_files(&self, stem: &str, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
        let paths = (
            self.path(&format!("{stem}.crt")),
            self.path(&format!("{stem}.key")),
        );
        fs::write(&paths.0, certificate).expect("written");
        fs::write(&paths.1, key).expect("written");
        paths
    }

    /// Imports a new certificate and starts a rotation to it; the rotation's id.
    #[track_caller]
    pub(crate) fn rotate(&self, more: &[&str]) -> String {
        let (generation, _) = self.import_new();
        let mut args = vec!["rotation", "start", "--to", &generation];
        args.extend(more);
        self.ok(&args)
    }

    /// Does what opens gate A, and holds the rotation in Swapping: this agent was connected when that began, and is off now. The others are back.
    pub(crate) fn swap_without(&mut self, away: &str, open_gate: impl FnOnce(&mut Self)) {
        let running: Vec<String> = self.agents.keys().cloned().collect();
        self.kill_controller();
        self.start_controller_held_at("entered.Swapping");
        self.await_serving();
        for name in &running {
            self.await_connected(&[name]);
        }
        open_gate(self);
        self.await_held();
        self.kill(away);
        self.restart_controller();
        self.await_missing(&[away]);
        assert_eq!(self.phase(), "Swapping");
    }

    /// The newest rotation.
    pub(crate) fn rotation(&self) -> Value {
        self.json(&["rotation", "status"])
    }

    pub(crate) fn phase(&self) -> String {
        self.rotation()["phase"]
            .as_str()
            .expect("a phase")
            .to_owned()
    }

    /// The names that the newest rotation waits for.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut names: Vec<String> = self.rotation()["missing"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|client| client["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    }

    /// Waits for a phase of the newest rotation; the rotation then.
    pub(crate) fn await_phase(&mut self, phase: &str) -> Value {
        self.eventually(&format!("phase {phase}"), |fleet| {
            let rotation = fleet.rotation();
            (rotation["phase"] == phase).then_some(rotation)
        })
    }

    /// Waits until the newest rotation waits for exactly these.
    pub(crate) fn await_missing(&mut self, names: &[&str]) {
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        self.eventually(&format!("{names:?} are missing"), |fleet| {
            (fleet.missing() == names).then_some(())
        });
    }
}
