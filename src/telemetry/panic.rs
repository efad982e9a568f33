//! What a panic may say.

use std::panic::{self, PanicHookInfo};

/// Makes a panic log where it happened. Its message is logged only when it is a literal of the program: a message
/// that was put together at run time may contain values, and values may be secrets.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let (location, message) = describe(info);
        tracing::error!(location, "a task panicked: {message}; please report this");
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> (String, &'static str) {
    let location = info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let message = info.payload().downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)");
    (location, message)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_message_made_at_run_time_is_withheld_and_a_literal_is_shown() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let before = panic::take_hook();
        let own_thread = std::thread::current().id();
        panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == own_thread {
                sink.lock().unwrap().push(describe(info));
            } else {
                before(info);
            }
        }));
        let secret = "canary";
        let _ = panic::catch_unwind(|| panic!("literal"));
        let _ = panic::catch_unwind(|| panic!("password {secret}"));
        let _ = panic::take_hook();
        let seen = seen.lock().unwrap();
        let messages: Vec<&str> = seen.iter().map(|(_, message)| *message).collect();
        assert_eq!(messages, ["literal", "(message withheld)"]);
        assert!(seen[0].0.contains("panic.rs"), "{}", seen[0].0);
    }
}
