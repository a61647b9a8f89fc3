//! Everything that is logged, at every level and by every crate, as one text to search for what must not be there.
//!
//! There is one log for the process. Subscribers of single threads do not see everything: tracing remembers for all of
//! them what the first thread that came by wanted to know.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A subscriber that keeps what it is told. Clones share it.
#[derive(Clone, Default)]
pub struct Log {
    text: Arc<Mutex<String>>,
}

impl Log {
    /// The log of this process, which begins with the first call.
    ///
    /// # Panics
    /// If somebody else has set the process's subscriber.
    pub fn of_this_process() -> Log {
        static LOG: OnceLock<Log> = OnceLock::new();
        let begin = || {
            let log = Log::default();
            tracing::subscriber::set_global_default(log.clone()).expect("nobody else logs in these tests");
            log
        };
        LOG.get_or_init(begin).clone()
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line)) {
        let mut line = Line(format!("{} {}:", metadata.level(), metadata.target()));
        record(&mut line);
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str(&line.0);
        text.push('\n');
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.write(span.metadata(), |line| span.record(line));
        // Nothing here tells spans apart.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.write(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}
