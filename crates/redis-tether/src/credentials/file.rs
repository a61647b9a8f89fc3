//! Credentials from files, as Kubernetes and Docker mount secrets and as agents write them. Read anew whenever somebody asks: they are
//! small, and no stamp of a file tells as surely what it holds. On a thread that may block, and where a file system hangs,
//! one hangs and no more.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use super::written::Written;
use super::{CredentialSource, Credentials, CredentialsError, Occasion};
use crate::transport::BoxFuture;

/// How often the files are looked at while a link serves: Kubernetes itself is a minute late, and a rotation leaves the old
/// password valid for longer than this if it is done well.
const INTERVAL: Duration = Duration::from_secs(2);

/// Longer than any token; so that a path to a log or a device does not fill the memory.
const LARGEST: u64 = 64 * 1024;

/// A pair that is replaced while it is read is read again, as often as this.
const ATTEMPTS: u32 = 3;

/// The files that a configuration names, with what it has in place of one.
pub(super) struct Files {
    written: Arc<Written>,
    /// Held by whoever reads.
    reading: Arc<AsyncMutex<()>>,
}

impl Files {
    /// `None` where the configuration names no file.
    pub(super) fn of(written: Written) -> Option<Files> {
        let has_any = written.password_file.is_some() || written.username_file.is_some();
        has_any.then(|| Files { written: Arc::new(written), reading: Arc::default() })
    }
}

impl CredentialSource for Files {
    fn credentials(&self, _occasion: Occasion) -> BoxFuture<'static, Result<Credentials, CredentialsError>> {
        let (written, reading) = (Arc::clone(&self.written), Arc::clone(&self.reading));
        Box::pin(async move {
            let Ok(reading) = reading.try_lock_owned() else {
                return Err(CredentialsError::new("the files of the credentials take long to be read"));
            };
            let read = tokio::task::spawn_blocking(move || {
                let _reading = reading;
                read_pair(&written)
            });
            read.await.unwrap_or_else(|error| Err(CredentialsError::new(error)))
        })
    }

    fn check_interval(&self) -> Option<Duration> {
        Some(INTERVAL)
    }
}

/// Username and password of one and the same moment: a mount is swapped as a whole, perhaps between two reads.
fn read_pair(written: &Written) -> Result<Credentials, CredentialsError> {
    let mut read = read_once(written);
    for _ in 1..ATTEMPTS {
        let again = read_once(written);
        if again == read {
            break;
        }
        read = again;
    }
    read
}

fn read_once(written: &Written) -> Result<Credentials, CredentialsError> {
    let in_section = |field: &str| format!("{}{field}", written.section);
    let password = match (&written.password_file, &written.password) {
        (Some(file), _) => read_text(&in_section("password_file"), file.path())?.into(),
        (None, Some(password)) => password.clone(),
        (None, None) => return Err(CredentialsError::new("username_file is given without a password")),
    };
    let username = match &written.username_file {
        Some(file) => Some(read_text(&in_section("username_file"), file.path())?),
        None => written.username.clone(),
    };
    Ok(Credentials::new(password).with_username(username.unwrap_or_default()))
}

/// Never repeats what the file holds. Of the line breaks that editors and `echo` leave at the end, none belongs to a password.
fn read_text(setting: &str, path: &Path) -> Result<String, CredentialsError> {
    let failed = |problem: &dyn std::fmt::Display| {
        CredentialsError::new(format_args!("{setting} {}: {problem}", path.display()))
    };
    let about = fs::metadata(path).map_err(|error| failed(&error))?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(failed(&"no file, or one that is too large"));
    }
    let text = fs::read(path).map_err(|error| failed(&error))?;
    let text = String::from_utf8(text).map_err(|_| failed(&"is not UTF-8"))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(failed(&"is empty")),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
