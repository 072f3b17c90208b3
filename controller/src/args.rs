//! The command line of `convoy-controller`. What the options mean is decided where they are used.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Parser};

/// The controller of a Convoy fleet. It needs no configuration file: at its first start it makes its keys and a self-signed server certificate.
#[derive(Debug, Parser)]
#[command(name = "convoy-controller", version)]
pub struct Args {
    /// Folder of the journal, the keys and the local socket. Made if it is missing.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/convoy")]
    pub data_dir: PathBuf,

    /// Where agents connect.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:7443")]
    pub agents_addr: SocketAddr,

    /// Where operators connect.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8443")]
    pub api_addr: SocketAddr,

    /// DNS name or IP address under which hosts reach this controller. May be repeated. Every server certificate must carry all of them, and join
    /// tokens name them with the agents' port. [default: the host name and `localhost`]
    #[arg(long = "name", value_name = "DNS-OR-IP", value_parser = name)]
    pub names: Vec<String>,

    /// Say more (-v: debug, -vv: trace). `RUST_LOG` says it precisely.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Args {
    /// The names that server certificates must carry.
    #[must_use]
    pub fn server_names(&self) -> Vec<String> {
        if !self.names.is_empty() {
            return self.names.clone();
        }
        let mut names: Vec<String> = gethostname::gethostname()
            .into_string()
            .ok()
            .and_then(|host| name(&host).ok())
            .into_iter()
            .collect();
        if names.iter().all(|name| name != "localhost") {
            names.push("localhost".to_owned());
        }
        names
    }
}

fn name(text: &str) -> Result<String, String> {
    match rustls_pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_ascii_lowercase()),
        Err(_) => Err("neither a DNS name nor an IP address".to_owned()),
    }
}
