//! The misbehaving proxy of `e2e/gitserver/misbehave_modes.go`: a port for each way to be wrong, and its log.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;

use super::journals::{Mark, second_of_day};
use super::testbed::Testbed;

static SLOTS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// One connection, when it was over.
#[derive(Clone, Debug, Deserialize)]
pub struct Contact {
    /// When it began, RFC 3339 in UTC.
    pub time: String,
    /// The mode of the port.
    pub mode: String,
    /// `CONNECT`, `GET`, `SOCKS`; empty when nothing was read.
    #[serde(default)]
    pub method: String,
    /// `host:port`, or a URL.
    #[serde(default)]
    pub target: String,
    /// Scheme of the login that came along.
    #[serde(default)]
    pub scheme: String,
    /// A hash of the login.
    #[serde(default)]
    pub credentials: String,
    /// Whether it was right.
    #[serde(default)]
    pub credentials_ok: bool,
}

impl Contact {
    /// Seconds since midnight, for the distance of two contacts.
    pub fn second(&self) -> f64 {
        second_of_day(&self.time)
    }
}

/// URL of the port that behaves like this.
pub fn url(mode: &str) -> String {
    let modes = &Testbed::shared().misbehave;
    modes.get(mode).unwrap_or_else(|| panic!("the misbehaving proxy has no mode {mode}")).clone()
}

/// The end of the log.
pub fn mark() -> Mark {
    Mark::end_of(&Testbed::shared().misbehave_log)
}

/// The connections to one port since a mark.
pub fn contacts(mark: &Mark, mode: &str) -> Vec<Contact> {
    mark.entries::<Contact>().into_iter().filter(|contact| contact.mode == mode).collect()
}

/// Makes a slot behave like a mode from the next connection on. Each test has slots of its own.
pub fn set_slot(slot: &str, mode: &str) {
    let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
    slots.insert(slot.to_owned(), mode.to_owned());
    write(&Testbed::shared().misbehave_control, &slots);
}

/// Forgets what an earlier run left.
pub fn clear_all(control: &Path) {
    write(control, &BTreeMap::new());
}

fn write(control: &Path, slots: &BTreeMap<String, String>) {
    let replacement = control.with_extension("new");
    fs::write(&replacement, json!(slots).to_string()).expect("the control file's directory is writable");
    fs::rename(&replacement, control).expect("the control file can be replaced");
}
