//! Proofs on real parts: a real API server, real pods, real git, a real proxy.
//!
//! Needs root and the packages that `e2e/install.sh` installs; a test fails, and says so, where they are missing. The
//! test bed starts with the first test and stays up; `e2e/testbed.sh down` ends it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::unit_arg,
    clippy::type_complexity,
    missing_docs,
    reason = "a test ends at the first thing that is not as expected"
)]

mod support;

#[path = "../support/audit.rs"]
mod replay;

mod airgap_24_secrets;
mod airgap_30_submodules;
mod airgap_47_charts;
mod airgap_51_git_dark_at_start;
mod airgap_55_signatures;
mod airgap_57_max_age;
mod airgap_59_doctor;
mod airgap_table;
mod airgap_table_fleet;
mod airgap_table_proxies;
mod airgap_table_rows;
mod airgap_table_transfer;
mod engine_gate;
mod engine_health;
mod engine_hooks;
mod engine_options;
mod ha;
mod proof_01_egress;
mod proof_02_least_work;
mod proof_03_prune;
mod proof_04_drift;
mod proof_05_waves;
mod proof_06_bad_content;
mod proof_06_bad_reach;
mod proof_07_kill;
mod proof_08_deletion;
mod proof_09_secrets;
mod proof_10_scale;
mod proof_11_apply;
mod proof_11_sources;
mod proof_12_hooks;
mod rbac_modes;
mod traces;
mod webhooks;
