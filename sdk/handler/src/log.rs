//! Log lines of a handler.
//!
//! `log::error!`, `log::warn!`, `log::info!` and `log::debug!` take what `format!` takes. In a component a line
//! goes to the host, which adds device and time, cuts it at 1,024 bytes and limits the rate. Natively it goes to
//! standard error, or to whom [`record`] serves. Never log per command: formatting allocates.

use std::fmt;

/// Weight of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Something is broken and stays so.
    Error,
    /// Something is wrong and was dealt with.
    Warning,
    /// Something worth knowing, rarely.
    Info,
    /// For the handler's author.
    Debug,
}

/// Logs an error, with the arguments of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($line:tt)+) => { $crate::log::line($crate::log::Level::Error, format_args!($($line)+)) }; }

/// Logs a warning, with the arguments of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($line:tt)+) => { $crate::log::line($crate::log::Level::Warning, format_args!($($line)+)) }; }

/// Logs something worth knowing, with the arguments of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($line:tt)+) => { $crate::log::line($crate::log::Level::Info, format_args!($($line)+)) }; }

/// Logs something for the author, with the arguments of `format!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($line:tt)+) => { $crate::log::line($crate::log::Level::Debug, format_args!($($line)+)) }; }

#[doc(inline)]
pub use crate::{__log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn};

/// What the macros call: one line without a line end.
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    match text.as_str() {
        Some(text) => write(level, text),
        None => write(level, &text.to_string()),
    }
}

#[cfg(target_family = "wasm")]
use crate::wasm::log_line as write;

#[cfg(not(target_family = "wasm"))]
pub use native::{Line, record};

#[cfg(not(target_family = "wasm"))]
use native::write;

#[cfg(not(target_family = "wasm"))]
mod native {
    use std::cell::RefCell;

    use super::Level;

    /// A line that was logged.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Line {
        /// Its weight.
        pub level: Level,
        /// Its text.
        pub text: String,
    }

    thread_local! {
        static RECORDING: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
    }

    /// Runs `work` and returns its result with the lines that it logged on this thread. Only where handlers run
    /// natively: for tests. A recording inside of another one keeps its lines to itself.
    pub fn record<R>(work: impl FnOnce() -> R) -> (R, Vec<Line>) {
        /// Puts the outer recording back, also when `work` panics.
        struct Outer(Option<Vec<Line>>);
        impl Drop for Outer {
            fn drop(&mut self) {
                RECORDING.set(self.0.take());
            }
        }
        let _outer = Outer(RECORDING.replace(Some(Vec::new())));
        let result = work();
        let lines = RECORDING.take().unwrap_or_default();
        (result, lines)
    }

    pub(super) fn write(level: Level, text: &str) {
        RECORDING.with_borrow_mut(|recording| match recording {
            Some(lines) => lines.push(Line { level, text: text.to_owned() }),
            None => eprintln!("{level:?}: {text}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Line, record};
    use crate::log;

    #[test]
    fn a_recording_gets_lines_in_order_with_their_weight() {
        let ((), lines) = record(|| {
            log::error!("plain");
            log::warn!("with {}", 1);
            log::info!("{0} {0}", "twice");
            log::debug!("last");
        });
        let expected = [
            (Level::Error, "plain"),
            (Level::Warning, "with 1"),
            (Level::Info, "twice twice"),
            (Level::Debug, "last"),
        ];
        assert_eq!(lines, expected.map(|(level, text)| Line { level, text: text.to_owned() }));
    }

    #[test]
    fn a_recording_inside_of_another_keeps_its_lines_and_survives_a_panic() {
        let ((), outer) = record(|| {
            log::info!("before");
            let ((), inner) = record(|| log::info!("inside"));
            assert_eq!(inner.len(), 1);
            let panicked = std::panic::catch_unwind(|| {
                record(|| {
                    log::info!("lost");
                    panic!("expected by this test");
                })
            });
            assert!(panicked.is_err());
            log::info!("after");
        });
        let texts: Vec<_> = outer.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["before", "after"]);
    }
}
