//! Connections over TLS: whom to trust, who asks, and what can be wrong.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, crypto};

use crate::error::{BuildError, ServerError};

/// Certificates, in PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// Whom to trust; the system's authorities unless said.
    pub(crate) authority: Option<Vec<u8>>,
    /// The client's own, and its key.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

impl Certificates {
    /// The same server, with these.
    pub(crate) fn on(&self, info: ConnectionInfo) -> Result<ConnectionInfo, BuildError> {
        let said = self.authority.is_some() || self.client.is_some();
        match info.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => return Err(BuildError::Unverified),
            ConnectionAddr::TcpTls { .. } => provide(),
            _ if said => return Err(BuildError::NoTls),
            _ => return Ok(info),
        }
        if !said {
            return Ok(info);
        }
        self.check()?;
        let client_tls = self.client.clone();
        let client_tls =
            client_tls.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let certificates = TlsCertificates { client_tls, root_cert: self.authority.clone() };
        let client = Client::build_with_tls(info, certificates);
        Ok(client.map_err(|_| BuildError::Certificate)?.get_connection_info().clone())
    }

    /// Text without a certificate in it would else mean to trust nobody.
    fn check(&self) -> Result<(), BuildError> {
        let client = self.client.as_ref();
        for pem in self.authority.iter().chain(client.map(|(certificate, _)| certificate)) {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            if read.map_err(|_| BuildError::Certificate)?.is_empty() {
                return Err(BuildError::Certificate);
            }
        }
        let key = client.map(|(_, key)| PrivateKeyDer::from_pem_slice(key)).transpose();
        key.map(drop).map_err(|_| BuildError::Certificate)
    }
}

/// Without a provider of cryptography for the process, the first connection would panic. One that the
/// program has chosen stays.
fn provide() {
    if crypto::CryptoProvider::get_default().is_none() {
        // Somebody may have been faster.
        let _ = crypto::ring::default_provider().install_default();
    }
}

/// What was wrong with TLS, if that was it.
pub(crate) fn reason(error: &RedisError) -> Option<ServerError> {
    type Shared = Arc<dyn Error + Send + Sync>;
    let error = error.source()?.downcast_ref::<Shared>()?;
    let carried = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
    let carried = carried.and_then(|error| error.downcast_ref::<rustls::Error>());
    let error = carried.or_else(|| error.downcast_ref::<rustls::Error>())?;
    let rustls::Error::InvalidCertificate(error) = error else { return Some(ServerError::Tls) };
    Some(of_certificate(error))
}

const fn of_certificate(error: &CertificateError) -> ServerError {
    use CertificateError::*;
    match error {
        // An authority of that name is trusted, but has not signed it.
        UnknownIssuer | BadSignature => ServerError::UnknownIssuer,
        NotValidForName | NotValidForNameContext { .. } => ServerError::WrongHost,
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => {
            ServerError::Expired
        }
        _ => ServerError::Tls,
    }
}
