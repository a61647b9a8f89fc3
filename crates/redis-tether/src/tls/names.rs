//! What the settings of TLS are called where a person finds them: servers have a section of the configuration, sentinels may have one
//! in the endpoint. Errors and advice name them by these.

/// The names of one section's fields.
pub(super) struct Names {
    pub(super) section: &'static str,
    pub(super) server_name: &'static str,
    pub(super) ca_file: &'static str,
    pub(super) cert_file: &'static str,
    pub(super) key_file: &'static str,
    pub(super) verify: &'static str,
}

pub(super) static OF_SERVERS: Names = Names {
    section: "tls",
    server_name: "tls.server_name",
    ca_file: "tls.ca_file",
    cert_file: "tls.cert_file",
    key_file: "tls.key_file",
    verify: "tls.verify",
};

pub(super) static OF_SENTINELS: Names = Names {
    section: "endpoint.tls",
    server_name: "endpoint.tls.server_name",
    ca_file: "endpoint.tls.ca_file",
    cert_file: "endpoint.tls.cert_file",
    key_file: "endpoint.tls.key_file",
    verify: "endpoint.tls.verify",
};
