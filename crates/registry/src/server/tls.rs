//! TLS: the certificate, and its renewal while the server runs.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base::error::{Kind, Kinded};
use base::file::FileError;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::config::TlsConfig;

/// The largest file of certificates or keys.
const FILE_LIMIT: u64 = 1 << 20;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what it should.
    #[error("\"{}\" holds no {wanted} in PEM form", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// The certificate and the key cannot be used together.
    #[error("use certificate \"{}\"", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

impl Kinded for TlsError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Content { .. } | Self::Unusable { .. } => Kind::Invalid,
        }
    }
}

/// Accepts TLS connections.
pub(crate) struct Tls {
    config: TlsConfig,
    acceptor: Mutex<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate and its key.
    pub(crate) fn open(config: TlsConfig) -> Result<Self, TlsError> {
        let acceptor = Mutex::new(read(&config)?);
        Ok(Self { config, acceptor })
    }

    /// Reads them again; what was read before stays when that fails.
    pub(crate) fn renew(&self) -> Result<(), TlsError> {
        let acceptor = read(&self.config)?;
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// Returns what accepts the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn read(config: &TlsConfig) -> Result<TlsAcceptor, TlsError> {
    let wrong = |path: &PathBuf, wanted| TlsError::Content {
        path: path.clone(),
        wanted,
    };
    let bytes = |path: &PathBuf| -> Result<Vec<u8>, TlsError> {
        match base::file::read_optional(path, FILE_LIMIT)? {
            Some(bytes) => Ok(bytes),
            None => Err(FileError::new("open", path, io::ErrorKind::NotFound.into()).into()),
        }
    };
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&bytes(&config.certificate)?)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|certificates: &Vec<_>| !certificates.is_empty())
            .ok_or_else(|| wrong(&config.certificate, "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&bytes(&config.key)?)
        .ok()
        .ok_or_else(|| wrong(&config.key, "private key"))?;
    let unusable = |source| TlsError::Unusable {
        path: config.certificate.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(unusable)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}
