//! What a server and a client show each other, in files, as deployments have it: made once, and renewed under whoever uses it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use super::authority::{Authority, Issued};
use crate::directory::Dir;

/// The certificate of an authority, and a pair each for server and client, in a directory that goes with this.
#[derive(Debug)]
pub struct TlsFiles {
    dir: Dir,
    authority: Arc<Authority>,
    names: Vec<String>,
}

/// Where the files are that a server needs.
#[derive(Clone, Debug)]
pub(crate) struct ServerFiles {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl TlsFiles {
    /// Issues everything; the server's certificate is for these names.
    ///
    /// # Errors
    /// As [`Authority::issue`], and where files cannot be written.
    pub fn create(names: &[&str]) -> io::Result<Self> {
        Self::by(Arc::new(Authority::new()?), names)
    }

    /// Those of another server, whose certificate is for these names, by the same authority.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn of_another(&self, names: &[&str]) -> io::Result<Self> {
        Self::by(Arc::clone(&self.authority), names)
    }

    fn by(authority: Arc<Authority>, names: &[&str]) -> io::Result<Self> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let files = Self { dir: Dir::create()?, authority, names };
        files.put(&files.ca_file(), &files.authority.pem())?;
        files.renew_server()?;
        files.renew_client()?;
        Ok(files)
    }

    pub(crate) fn server(&self) -> ServerFiles {
        ServerFiles { ca: self.ca_file(), certificate: self.server_cert_file(), key: self.server_key_file() }
    }

    /// Who issues.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The certificate of the authority.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The server's certificate.
    #[must_use]
    pub fn server_cert_file(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// The server's key.
    #[must_use]
    pub fn server_key_file(&self) -> PathBuf {
        self.dir.path().join("server.key")
    }

    /// The client's certificate.
    #[must_use]
    pub fn client_cert_file(&self) -> PathBuf {
        self.dir.path().join("client.pem")
    }

    /// The client's key.
    #[must_use]
    pub fn client_key_file(&self) -> PathBuf {
        self.dir.path().join("client.key")
    }

    /// A new pair for the server, for the same names. A server that runs must be told.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn renew_server(&self) -> io::Result<()> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        self.put_server(&self.authority.issue(&names)?)
    }

    /// A new pair for the client.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn renew_client(&self) -> io::Result<()> {
        self.put_client(&self.authority.issue(&["client.test"])?)
    }

    /// A new authority, and new pairs for server and client by it; the old ones are worth nothing to who reads the new file.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn renew_authority(&mut self) -> io::Result<()> {
        self.authority = Arc::new(Authority::new()?);
        self.put(&self.ca_file(), &self.authority.pem())?;
        self.renew_server()?;
        self.renew_client()
    }

    /// Puts this pair where the server's is.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn put_server(&self, pair: &Issued) -> io::Result<()> {
        self.put(&self.server_cert_file(), &pair.certificate)?;
        self.put(&self.server_key_file(), &pair.key)
    }

    /// Puts this pair where the client's is.
    ///
    /// # Errors
    /// Where files cannot be written.
    pub fn put_client(&self, pair: &Issued) -> io::Result<()> {
        self.put(&self.client_cert_file(), &pair.certificate)?;
        self.put(&self.client_key_file(), &pair.key)
    }

    /// Each file changes at once, so that nobody reads half of one.
    fn put(&self, path: &Path, text: &str) -> io::Result<()> {
        let new = self.dir.path().join("new");
        fs::write(&new, text)?;
        fs::rename(new, path)
    }
}
