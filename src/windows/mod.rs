//! Sync windows of projects: whether a sync may run now, and when that changes. Pure; the clock is passed in.
//!
//! What decides is as in Argo CD. Without a window that selects the Application everything is open. An open deny window
//! closes. Where allow windows select it and none is open, it is closed. `manualSync` leaves it open for people, if
//! every window that closes it says so.
//!
//! Three things are stricter or surer. A window begins with its first instant, not just after it. Its start is read from the clock
//! on the wall of its zone at that date, and its length is elapsed time, so that a change to or from summer time moves
//! neither. A window that can't be read closes: as a deny window that is always open, as an allow window that never is.
//!
//! The rules of time zones come with the program: no file of the machine is read, and images need none.

mod compile;
mod evaluate;
mod schedule;

pub use compile::{SyncWindows, WindowProblem};
pub use evaluate::{Hold, Subject, WindowState};
pub use schedule::ScheduleError;

#[cfg(test)]
mod tests;
