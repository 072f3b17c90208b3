//! The demo's command line. What its options do stands where they are used.

use std::{fmt, time::Duration};

use clap::{CommandFactory as _, Parser, ValueEnum, error::ErrorKind, value_parser};
use serde::Serialize;

/// However small the fleet is.
const LIMIT: Duration = Duration::from_secs(300);
/// And for each client.
const LIMIT_PER_CLIENT: Duration = Duration::from_secs(2);
/// And for the requests of certificates, if there are to be any: however small the fleet is.
const SCEP_LIMIT: Duration = Duration::from_secs(90);
/// And for each client.
const SCEP_LIMIT_PER_CLIENT: Duration = Duration::from_secs(2);

/// A whole Convoy fleet on this machine: a controller, agents that join, one rotation of the server certificate, and a certificate for
/// each agent from the built-in SCEP server. Measures how many clients were orphaned; exit code 0 only if the rotation completed,
/// nobody was, and every agent obtained its certificate.
#[derive(Debug, Parser)]
#[command(name = "convoy-demo", version, max_term_width = 100)]
pub(crate) struct Args {
    /// How many clients join, each a process
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = value_parser!(u16).range(1..=500))]
    pub(crate) clients: u16,
    /// How trust is moved from the old certificate to the new one
    #[arg(long, value_enum, default_value_t = Strategy::Overlap)]
    pub(crate) strategy: Strategy,
    /// How many clients are switched off before the rotation, and come back once the gate has been seen to wait for exactly them
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) offline: u16,
    /// Serve no SCEP, and have no agent request a certificate at the end
    #[arg(long)]
    pub(crate) no_scep: bool,
    /// Keep everything running after the summary, until Ctrl-C
    #[arg(long)]
    pub(crate) stay: bool,
    /// Print the summary as one JSON object, alone on the last line of stdout
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// Reads the process's arguments, or ends it with clap's answer.
    pub(crate) fn parse() -> Self {
        let args = <Self as Parser>::parse();
        if let Err(problem) = args.check() {
            Self::command()
                .error(ErrorKind::ValueValidation, problem)
                .exit();
        }
        args
    }

    fn check(&self) -> Result<(), String> {
        if self.offline > self.clients {
            return Err(format!(
                "--offline {} is more than --clients {}",
                self.offline, self.clients
            ));
        }
        Ok(())
    }

    /// How long everything may take.
    pub(crate) fn limit(&self) -> Duration {
        let scep = match self.no_scep {
            true => Duration::ZERO,
            false => self.scep_limit(),
        };
        LIMIT + LIMIT_PER_CLIENT * u32::from(self.clients) + scep
    }

    /// How long the requests of certificates may take.
    pub(crate) fn scep_limit(&self) -> Duration {
        SCEP_LIMIT + SCEP_LIMIT_PER_CLIENT * u32::from(self.clients)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strategy {
    /// Trust the old and the new certificate together; verification is never off
    Overlap,
    /// Verification off, swap, verification on
    Toggle,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overlap => "overlap",
            Self::Toggle => "toggle",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, String> {
        let args = Args::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        args.check()?;
        Ok(args)
    }

    #[test]
    fn the_grammar_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn without_options_25_clients_overlap() {
        let args = read("convoy-demo").unwrap();
        assert_eq!(
            (args.clients, args.strategy, args.offline),
            (25, Strategy::Overlap, 0)
        );
        assert!(!args.stay && !args.json && !args.no_scep);
        assert_eq!(args.scep_limit(), Duration::from_secs(140));
        assert_eq!(args.limit(), Duration::from_secs(350 + 140));
        let without = read("convoy-demo --no-scep").unwrap();
        assert!(without.no_scep);
        assert_eq!(without.limit(), Duration::from_secs(350));
    }

    #[test]
    fn a_fleet_has_1_to_500_clients_and_no_more_are_off_than_there_are() {
        for good in [
            "convoy-demo --clients 1 --offline 1",
            "convoy-demo --clients 500 --strategy toggle --stay --json",
        ] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            "convoy-demo --clients 0",
            "convoy-demo --clients 501",
            "convoy-demo --clients 3 --offline 4",
            "convoy-demo --offline -1",
            "convoy-demo --strategy off",
            "convoy-demo 25",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn strategies_are_spelled_as_the_cli_spells_them() {
        for strategy in Strategy::value_variants() {
            let spelled = strategy.to_possible_value().unwrap();
            assert_eq!(spelled.get_name(), strategy.to_string());
            assert_eq!(
                serde_json::to_string(strategy).unwrap(),
                format!("\"{strategy}\"")
            );
        }
    }
}
