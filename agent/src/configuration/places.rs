//! The `[places]` tables of the configuration file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ConfigurationError,
    section::{Section, is_file_name},
};
use crate::place::{
    Command, Cups, Enabled, Files, KeyFile, Location, NetworkManager, Nginx, Owner, Places, Preset,
    StrongSwan, WpaSupplicant,
};

const COMMON: [&str; 7] = [
    "preset",
    "enabled",
    "confirm",
    "timeout",
    "key_mode",
    "key_owner",
    "key_group",
];

/// Preset names of a location.
const OF_TLS: &[&str] = &["cups", "nginx", "files"];
const OF_IPSEC: &[&str] = &["strongswan", "files"];
const OF_IEEE8021X: &[&str] = &["wpa-supplicant", "network-manager", "files"];

pub(super) fn read(file: &Path, section: Option<Section>) -> Result<Places, ConfigurationError> {
    let mut places = Places {
        file: file.to_owned(),
        ..Places::default()
    };
    let Some(mut section) = section else {
        return Ok(places);
    };
    section.knows(&["tls", "ipsec", "ieee8021x"])?;
    if let Some(tls) = section.section("tls")? {
        places.tls = Some(location(tls, OF_TLS, "")?);
    }
    if let Some(ieee8021x) = section.section("ieee8021x")? {
        places.ieee8021x = Some(location(ieee8021x, OF_IEEE8021X, "")?);
    }
    if let Some(mut ipsec) = section.section("ipsec")? {
        for destination in ipsec.keys() {
            if !is_file_name(&destination) {
                return Err(ipsec.problem(&destination, "is no name for a destination: it must be on one line, without a slash, and not begin with a dot"));
            }
            let Some(table) = ipsec
                .section(&destination)
                .map_err(|_| not_a_destination(&ipsec, &destination))?
            else {
                continue;
            };
            let location = location(table, OF_IPSEC, &destination)?;
            places.ipsec.insert(destination, location);
        }
    }
    Ok(places)
}

fn not_a_destination(ipsec: &Section, key: &str) -> ConfigurationError {
    ipsec.problem(
        key,
        "is no table: each destination is one of its own, like [places.ipsec.headquarters]",
    )
}

fn location(
    mut section: Section,
    presets: &[&str],
    destination: &str,
) -> Result<Location, ConfigurationError> {
    let preset = section.choice("preset", presets)?;
    let preset = section.required("preset", preset, &format!("one of {}", presets.join(", ")))?;
    let preset = match preset.as_str() {
        "cups" => Preset::Cups(cups(&mut section)?),
        "nginx" => Preset::Nginx(nginx(&mut section)?),
        "strongswan" => Preset::StrongSwan(strongswan(&mut section, destination)?),
        "wpa-supplicant" => Preset::WpaSupplicant(wpa_supplicant(&mut section)?),
        "network-manager" => Preset::NetworkManager(network_manager(&mut section)?),
        _ => Preset::Files(files(&mut section)?),
    };
    let enabled = if section.is_flag("enabled") {
        Enabled::Fixed(section.flag("enabled")?.unwrap_or(true))
    } else {
        section
            .command("enabled")?
            .map_or(Enabled::Fixed(true), Enabled::Ask)
    };
    Ok(Location {
        preset,
        enabled,
        confirm: section.parsed("confirm", "host:port, an IPv6 address in brackets")?,
        timeout: section.timeout("timeout", Duration::from_secs(30))?,
        key_file: KeyFile {
            mode: section.key_mode("key_mode")?,
            owner: Owner {
                user: section.number_of("key_owner", Path::new("/etc/passwd"))?,
                group: section.number_of("key_group", Path::new("/etc/group"))?,
            },
        },
    })
}

fn knows(section: &Section, own: &[&str]) -> Result<(), ConfigurationError> {
    section.knows(&[own, &COMMON].concat())
}

fn program(section: &mut Section, key: &str, default: &str) -> Result<Command, ConfigurationError> {
    Ok(section
        .command(key)?
        .unwrap_or_else(|| Command::of(&[default])))
}

fn needed(section: &mut Section, key: &str, what: &str) -> Result<PathBuf, ConfigurationError> {
    let path = section.path(key)?;
    section.required(key, path, &format!("the absolute path of {what}"))
}

fn cups(section: &mut Section) -> Result<Cups, ConfigurationError> {
    knows(section, &["server_name", "folder"])?;
    let server_name = section.file_name("server_name")?;
    let server_name = match server_name {
        Some(name) => name,
        // What cupsd takes for its ServerName, if it has no other.
        None => {
            let own = gethostname::gethostname().into_string().ok();
            section.required(
                "server_name",
                own.filter(|name| is_file_name(name)),
                "the ServerName of cupsd.conf",
            )?
        }
    };
    Ok(Cups {
        server_name,
        folder: section
            .path("folder")?
            .unwrap_or_else(|| PathBuf::from("/etc/cups/ssl")),
    })
}

fn nginx(section: &mut Section) -> Result<Nginx, ConfigurationError> {
    knows(section, &["certificate", "key", "nginx"])?;
    Ok(Nginx {
        certificate: needed(section, "certificate", "nginx's ssl_certificate")?,
        key: needed(section, "key", "nginx's ssl_certificate_key")?,
        nginx: program(section, "nginx", "nginx")?,
    })
}

fn strongswan(section: &mut Section, destination: &str) -> Result<StrongSwan, ConfigurationError> {
    knows(section, &["folder", "name", "ca", "swanctl"])?;
    Ok(StrongSwan {
        folder: section
            .path("folder")?
            .unwrap_or_else(|| PathBuf::from("/etc/swanctl")),
        name: section
            .file_name("name")?
            .unwrap_or_else(|| destination.to_owned()),
        ca: section.flag("ca")?.unwrap_or(false),
        swanctl: program(section, "swanctl", "swanctl")?,
    })
}

fn wpa_supplicant(section: &mut Section) -> Result<WpaSupplicant, ConfigurationError> {
    knows(
        section,
        &["interface", "certificate", "key", "ca", "wpa_cli"],
    )?;
    let interface = section.name("interface")?;
    Ok(WpaSupplicant {
        interface: section.required(
            "interface",
            interface,
            "the network interface, like \"wlan0\"",
        )?,
        certificate: needed(section, "certificate", "wpa_supplicant's client_cert")?,
        key: needed(section, "key", "wpa_supplicant's private_key")?,
        ca: section.path("ca")?,
        wpa_cli: program(section, "wpa_cli", "wpa_cli")?,
    })
}

fn network_manager(section: &mut Section) -> Result<NetworkManager, ConfigurationError> {
    knows(
        section,
        &["connection", "certificate", "key", "ca", "nmcli"],
    )?;
    let connection = section.name("connection")?;
    Ok(NetworkManager {
        connection: section.required("connection", connection, "its name or UUID")?,
        certificate: needed(
            section,
            "certificate",
            "a file for the client's certificate",
        )?,
        key: needed(section, "key", "a file for the private key")?,
        ca: section.path("ca")?,
        nmcli: program(section, "nmcli", "nmcli")?,
    })
}

fn files(section: &mut Section) -> Result<Files, ConfigurationError> {
    knows(
        section,
        &[
            "certificate",
            "key",
            "chain",
            "ca",
            "full_chain",
            "check",
            "activate",
        ],
    )?;
    Ok(Files {
        certificate: needed(section, "certificate", "a file for the certificate")?,
        key: needed(section, "key", "a file for the private key")?,
        chain: section.path("chain")?,
        ca: section.path("ca")?,
        full_chain: section.flag("full_chain")?.unwrap_or(false),
        check: section.command("check")?,
        activate: section.command("activate")?,
    })
}
