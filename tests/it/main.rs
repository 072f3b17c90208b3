//! Proofs from outside, in one binary: real processes, real TLS, real files.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says why, also in what stands beside its tests"
)]

mod addresses;
mod attacks;
mod calls;
mod chains;
mod chaos;
mod clocks;
mod copies;
mod crashes;
mod crowd;
mod crowds;
mod curious;
mod decommissioned;
mod errors;
mod expiring;
mod farewell;
mod fleet;
mod forged;
mod frames;
mod gates;
mod health;
mod host_clocks;
mod identity;
mod importing;
mod joining;
mod journal;
mod lease;
mod liars;
mod metrics;
mod noise;
mod operators;
mod paces;
mod pages;
mod ports;
mod presence;
mod puppet;
mod reasons;
mod refusals;
mod rejoining;
mod road;
mod roster;
mod rotation;
mod scep_batch;
mod scep_crashes;
mod scep_details;
mod scep_devices;
mod scep_forged;
mod scep_hostile;
mod scep_life;
mod scep_load;
mod scep_ndes;
mod scep_ndes_page;
mod scep_noise;
mod scep_peer;
mod scep_places;
mod scep_prompt;
mod scep_rules;
mod scep_secrets;
mod scep_server;
mod scep_two_keys;
mod scep_view;
mod scep_watch;
mod scep_weak;
mod scepper;
mod sockets;
mod strangers;
mod surfaces;
mod terminal;
mod tidy;
mod unread;
