//! The certificates in use, and whether their files have changed since. Looked at before each dial, on a thread that may block;
//! what is new is used from then on if it is sound. What is not leaves everything as it was, is told of once, and is looked at
//! again the next time: a certificate and its key are seldom replaced in the same moment.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tokio_rustls::rustls::ClientConfig;

use super::TlsError;
use super::material::{Contents, Sources};
use crate::lock::lock;

/// A file that was written this recently may have been written again without its time showing it: file systems count in
/// steps, of 2 s at the coarsest.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What is in use.
pub(super) struct Reloaded {
    inner: Arc<Inner>,
}

struct Inner {
    /// Whose they are, for the log.
    endpoint: Arc<str>,
    sources: Sources,
    in_use: Mutex<Arc<ClientConfig>>,
    // Held by whoever looks: where a file system hangs, one thread hangs with it and not one for each dial.
    seen: Arc<AsyncMutex<Seen>>,
}

/// What was found the last time.
struct Seen {
    stamps: Option<Vec<Stamp>>,
    contents: Contents,
    /// Why what is there now is not in use.
    refused: Option<TlsError>,
}

impl Reloaded {
    /// Reads everything for the first time: may block.
    pub(super) fn load(endpoint: Arc<str>, sources: Sources) -> Result<Reloaded, TlsError> {
        let stamps = stamps(&sources);
        let contents = sources.read()?;
        let in_use = Mutex::new(Arc::new(sources.configure(&contents)?));
        let seen = Arc::new(AsyncMutex::new(Seen { stamps, contents, refused: None }));
        Ok(Reloaded { inner: Arc::new(Inner { endpoint, sources, in_use, seen }) })
    }

    /// The configuration for the next handshake. Waits for the file system; who does not want to wait drops it.
    pub(super) async fn current(&self) -> Arc<ClientConfig> {
        if self.inner.sources.files().next().is_some()
            && let Ok(mut seen) = Arc::clone(&self.inner.seen).try_lock_owned()
        {
            let inner = Arc::clone(&self.inner);
            let looked = tokio::task::spawn_blocking(move || inner.look(&mut seen)).await;
            if let Err(error) = looked {
                tracing::debug!(endpoint = &*self.inner.endpoint, %error, "the files of TLS were not looked at");
            }
        }
        Arc::clone(&lock(&self.inner.in_use))
    }

    /// Keeps everybody else from looking, as a file system that hangs would.
    #[cfg(all(test, feature = "tls"))]
    pub(super) async fn hold(&self) -> impl Sized + use<> {
        Arc::clone(&self.inner.seen).lock_owned().await
    }
}

impl Inner {
    fn look(&self, seen: &mut Seen) {
        let stamps = stamps(&self.sources);
        if stamps.is_some() && stamps == seen.stamps {
            return;
        }
        // Taken before the files are read: what changes meanwhile has another one the next time.
        seen.stamps = stamps;
        match self.renew(seen) {
            Ok(()) => seen.refused = None,
            Err(error) => {
                if seen.refused.as_ref() != Some(&error) {
                    let endpoint = &*self.endpoint;
                    tracing::warn!(endpoint, %error, "the files of TLS changed and cannot be used; what was in use stays in use");
                }
                seen.refused = Some(error);
                // A pair that does not match is half of a change: its other half may come with the same stamp.
                seen.stamps = None;
            }
        }
    }

    fn renew(&self, seen: &mut Seen) -> Result<(), TlsError> {
        let contents = self.sources.read()?;
        if contents == seen.contents {
            return Ok(());
        }
        let config = Arc::new(self.sources.configure(&contents)?);
        seen.contents = contents;
        *lock(&self.in_use) = config;
        let endpoint = &*self.endpoint;
        tracing::info!(endpoint, "the files of TLS changed; what they hold now is used for new connections");
        Ok(())
    }
}

/// What tells that a file is another one without reading it.
#[derive(PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: SystemTime,
    /// Which file it is, and when anything about it changed, where the platform says.
    identity: (u64, u64, i64, i64),
}

/// `None` where they say too little to rely on.
fn stamps(sources: &Sources) -> Option<Vec<Stamp>> {
    let now = SystemTime::now();
    let stamps: Option<Vec<_>> = sources.files().map(stamp).collect();
    stamps.filter(|stamps| stamps.iter().all(|stamp| stamp.is_settled(now)))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some(Stamp { length: about.len(), modified: about.modified().ok()?, identity: identity(&about) })
}

impl Stamp {
    fn is_settled(&self, now: SystemTime) -> bool {
        now.duration_since(self.modified).is_ok_and(|age| age >= SETTLED_AFTER)
    }
}

#[cfg(unix)]
fn identity(about: &fs::Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (about.dev(), about.ino(), about.ctime(), about.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_about: &fs::Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}
