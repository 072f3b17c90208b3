//! Reads a file of all settings: all or nothing, and everything that is wrong at once.

use toml::{Table, Value};
use uuid::Uuid;

use super::{
    file::{self, Batch, Member, SERVER},
    keys::{self, at, unknown},
};
use crate::scep::{args::Approval, profiles::Profile};

/// The file's settings, or what is wrong with it.
pub(super) fn batch(text: &str) -> Result<Batch, Vec<String>> {
    let mut top = match text.parse::<Table>() {
        Ok(top) => top,
        Err(error) => return Err(vec![error.to_string().trim_end().to_owned()]),
    };
    let mut reader = Reader::default();
    let mut batch = Batch::default();
    let server = reader.table("", SERVER, top.remove(SERVER));
    reader.server(server, &mut batch);
    for (name, value) in reader.table("", "groups", top.remove("groups")) {
        let place = format!("groups.{}", keys::bare(&name));
        let mut group = reader.table("groups", &name, Some(value));
        let settings = reader.table(&place, "scep", group.remove("scep"));
        let patch = keys::patch(&file::group(&name), settings, &mut reader.problems);
        reader.nothing_else(&place, &group, &["scep"]);
        batch.groups.insert(name, patch);
    }
    for (id, value) in reader.table("", "clients", top.remove("clients")) {
        reader.client(id, value, &mut batch);
    }
    reader.nothing_else("", &top, &[SERVER, "groups", "clients"]);
    if reader.problems.is_empty() {
        Ok(batch)
    } else {
        Err(reader.problems)
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    /// A table in a table; empty if there is none.
    fn table(&mut self, place: &str, key: &str, value: Option<Value>) -> Table {
        match value {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                let problem = format!("this is a {}, and a table is wanted", other.type_str());
                self.problems.push(at(place, key, &problem));
                Table::new()
            }
        }
    }

    fn nothing_else(&mut self, place: &str, rest: &Table, known: &[&str]) {
        for key in rest.keys() {
            self.problems.push(unknown(place, key, known));
        }
    }

    fn server(&mut self, mut table: Table, batch: &mut Batch) {
        batch.approval = match table.remove("approval") {
            None => None,
            Some(Value::String(word)) if word == "automatic" => Some(Approval::Automatic),
            Some(Value::String(word)) if word == "manual" => Some(Approval::Manual),
            Some(other) => {
                let problem = format!("{other} is not \"automatic\" or \"manual\"");
                self.problems.push(at(SERVER, "approval", &problem));
                None
            }
        };
        let profiles = self.table(SERVER, "profiles", table.remove("profiles"));
        self.nothing_else(SERVER, &table, &["approval", "profiles"]);
        for (name, value) in profiles {
            let place = file::profile(&name);
            let table = self.table(&format!("{SERVER}.profiles"), &name, Some(value));
            if let Some(profile) = self.profile(&place, table) {
                batch.profiles.insert(name, profile);
            }
        }
    }

    fn profile(&mut self, place: &str, table: Table) -> Option<Profile> {
        const KNOWN: [&str; 4] = [
            "lifetime",
            "extended_key_usages",
            "subject_alt_name_kinds",
            "subject_alt_names",
        ];
        let before = self.problems.len();
        for key in table.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
            self.problems.push(unknown(place, key, &KNOWN));
        }
        for key in KNOWN.iter().filter(|key| !table.contains_key(**key)) {
            let problem = "is missing; a profile has all its keys";
            self.problems.push(at(place, key, problem));
        }
        if self.problems.len() > before {
            return None;
        }
        match table.clone().try_into::<Profile>() {
            Ok(profile) => Some(profile),
            Err(_) => {
                for (key, value) in table {
                    let right = match (key.as_str(), &value) {
                        ("lifetime", Value::String(text)) => {
                            text.parse::<convoy_shared::settings::Span>().is_ok()
                        }
                        ("lifetime", _) => false,
                        (_, Value::Array(list)) => list.iter().all(Value::is_str),
                        _ => false,
                    };
                    if !right {
                        let problem = if key == "lifetime" {
                            "a length of time like \"90d\" is wanted"
                        } else {
                            "a list of texts is wanted"
                        };
                        self.problems.push(at(place, &key, problem));
                    }
                }
                None
            }
        }
    }

    fn client(&mut self, id: String, value: Value, batch: &mut Batch) {
        let place = format!("clients.{}", keys::bare(&id));
        let mut table = self.table("clients", &id, Some(value));
        let Ok(uuid) = Uuid::parse_str(&id) else {
            let problem = "this is no UUID; `convoy clients list -o json` shows the ids";
            self.problems.push(at("clients", &id, problem));
            return;
        };
        let name = match table.remove("name") {
            None => String::new(),
            Some(Value::String(name)) => name,
            Some(_) => {
                self.problems.push(at(&place, "name", "a text is wanted"));
                String::new()
            }
        };
        let settings = self.table(&place, "scep", table.remove("scep"));
        let patch = keys::patch(&file::client(&id), settings, &mut self.problems);
        self.nothing_else(&place, &table, &["name", "scep"]);
        batch
            .clients
            .insert(uuid.to_string(), Member { name, patch });
    }
}
