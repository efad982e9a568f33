//! What every proof stands on: the test bed, one operator per test, and readers of everybody's logs.

pub mod application;
pub mod audit;
pub mod cluster;
pub mod direct;
pub mod fixtures;
pub mod git;
pub mod git_faults;
pub mod installation;
pub mod journals;
pub mod manifests;
pub mod metrics;
pub mod misbehaving;
pub mod operator;
pub mod reach;
pub mod testbed;
pub mod waiting;
pub mod wire;
