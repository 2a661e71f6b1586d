//! TLS: whom to trust, and who to be.
//!
//! The host's authorities (`/etc/ssl`), and for one registry those that `certs.d` adds, as docker lays it out:
//! `DIRECTORY/HOST[:PORT]/*.crt` are further authorities, `NAME.cert` with `NAME.key` is a client certificate.
//! The provider of cryptography is named in one place, [`provider`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::origin::Origin;

/// Largest file of certificates or a key, in bytes: bundles have some hundred thousand.
const MAX_FILE: u64 = 8 << 20;
/// The bundles of Debian, Fedora, openSUSE, OpenELEC, CentOS and Alpine.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Most files of a directory of authorities.
const MAX_AUTHORITIES: usize = 4096;
/// Most files of one registry.
const MAX_FILES: usize = 256;

/// Whether certificates are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// They are.
    Full,
    /// They are not: the registry is listed as insecure.
    Skip,
}

/// Why there can be no TLS with a registry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("read certificates")]
    Read {
        #[source]
        source: base::file::FileError,
    },
    #[error("list certificates in \"{}\"", .path.display())]
    List { path: PathBuf, source: std::io::Error },
    #[error("\"{}\" holds no usable certificate: {problem}", .path.display())]
    Certificate { path: PathBuf, problem: String },
    #[error(
        "missing key {} for client certificate {}. CA certificates must use the extension .crt",
        .key.display(), .certificate.display()
    )]
    MissingKey { key: PathBuf, certificate: PathBuf },
    #[error("missing client certificate {} for key {}", .certificate.display(), .key.display())]
    MissingCertificate { certificate: PathBuf, key: PathBuf },
    #[error("client certificate \"{}\"", .path.display())]
    Identity { path: PathBuf, source: rustls::Error },
    #[error("set TLS up")]
    Setup { source: rustls::Error },
}

/// What is trusted by this host, read when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    roots: OnceLock<RootCertStore>,
    plain: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// Returns how to speak TLS to `origin`. Reads files: not for an async thread.
    ///
    /// Files of `certs.d` are read for every new connection, so a changed certificate needs no restart.
    pub(crate) fn config(
        &self,
        certs_dirs: &[PathBuf],
        origin: &Origin,
        check: Check,
    ) -> Result<Arc<ClientConfig>, TlsError> {
        let own = OwnFiles::read(certs_dirs, origin)?;
        if own.is_empty() && check == Check::Full {
            if let Some(plain) = self.plain.get() {
                return Ok(Arc::clone(plain));
            }
            let config = Arc::new(build(self.roots().clone(), None, check)?);
            return Ok(Arc::clone(self.plain.get_or_init(|| config)));
        }
        let mut roots = self.roots().clone();
        for (path, certificate) in own.authorities {
            roots.add(certificate).map_err(|error| TlsError::Certificate {
                path,
                problem: error.to_string(),
            })?;
        }
        build(roots, own.identity, check).map(Arc::new)
    }

    fn roots(&self) -> &RootCertStore {
        self.roots
            .get_or_init(|| authorities_of_host(|name| std::env::var_os(name).map(PathBuf::from)))
    }
}

/// Returns the authorities that this host trusts, from the places where Go, and so docker, looks: a file that
/// `SSL_CERT_FILE` names or the first bundle of a distribution that is there; a directory that `SSL_CERT_DIR` names.
fn authorities_of_host(variable: impl Fn(&str) -> Option<PathBuf>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let mut add = |path: &Path| {
        // A host with a broken bundle has fewer authorities, which the handshake then tells.
        let found = read(path).map(|bytes| {
            let parsed: Vec<_> = CertificateDer::pem_slice_iter(&bytes).flatten().collect();
            roots.add_parsable_certificates(parsed).0
        });
        match found {
            Ok(added) => added > 0,
            Err(error) => {
                tracing::debug!(error = %base::error::chain(&error), "authorities of this host not read");
                false
            }
        }
    };
    let named = (variable("SSL_CERT_FILE"), variable("SSL_CERT_DIR"));
    match &named {
        (Some(file), _) => drop(add(file)),
        (None, Some(_)) => {}
        (None, None) => drop(BUNDLES.iter().any(|path| add(Path::new(path)))),
    }
    if let (_, Some(directory)) = &named {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.take(MAX_AUTHORITIES) {
            add(&entry.path());
        }
    }
    roots
}

/// Returns the one provider of cryptography of this program.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns a failed handshake in the words that docker prints.
pub(crate) fn describe(error: &std::io::Error, origin: &Origin) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return format!("tls: {error}");
    };
    let problem = match inner {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            return "http: server gave HTTP response to HTTPS client".to_owned();
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "certificate signed by unknown authority".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "certificate has expired or is not yet valid".to_owned(),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            format!("certificate is not valid for {}", origin.host)
        }
        other => return format!("tls: {other}"),
    };
    format!("tls: failed to verify certificate: x509: {problem}")
}

/// The files of one registry.
#[derive(Default)]
struct OwnFiles {
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
    identity: Option<Identity>,
}

struct Identity {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl OwnFiles {
    fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.identity.is_none()
    }

    fn read(certs_dirs: &[PathBuf], origin: &Origin) -> Result<Self, TlsError> {
        let mut own = Self::default();
        let mut names = vec![origin.host_and_port()];
        if origin.authority() != names[0] {
            names.push(origin.authority());
        }
        for directory in certs_dirs
            .iter()
            .flat_map(|base| names.iter().map(|name| base.join(name)))
        {
            own.add(&directory)?;
        }
        Ok(own)
    }

    fn add(&mut self, directory: &Path) -> Result<(), TlsError> {
        let list = |source| TlsError::List {
            path: directory.to_owned(),
            source,
        };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(list(error)),
        };
        let mut paths = Vec::new();
        for entry in entries.take(MAX_FILES) {
            paths.push(entry.map_err(list)?.path());
        }
        paths.sort();
        for path in &paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let certificates = certificates(path)?;
                    self.authorities.extend(
                        certificates
                            .into_iter()
                            .map(|certificate| (path.clone(), certificate)),
                    );
                }
                Some("cert") => {
                    let key = path.with_extension("key");
                    if !paths.contains(&key) {
                        return Err(TlsError::MissingKey {
                            key,
                            certificate: path.clone(),
                        });
                    }
                    // The first pair is shown: a handshake has room for one.
                    if self.identity.is_none() {
                        self.identity = Some(Identity {
                            path: path.clone(),
                            chain: certificates(path)?,
                            key: private_key(&key)?,
                        });
                    }
                }
                Some("key") => {
                    let certificate = path.with_extension("cert");
                    if !paths.contains(&certificate) {
                        return Err(TlsError::MissingCertificate {
                            certificate,
                            key: path.clone(),
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let problem = |problem: String| TlsError::Certificate {
        path: path.to_owned(),
        problem,
    };
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| problem(error.to_string()))?;
    if found.is_empty() {
        return Err(problem("no certificate in PEM form".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| TlsError::Certificate {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    base::file::read_optional(path, MAX_FILE)
        .map(Option::unwrap_or_default)
        .map_err(|source| TlsError::Read { source })
}

fn build(roots: RootCertStore, identity: Option<Identity>, check: Check) -> Result<ClientConfig, TlsError> {
    let setup = |source| TlsError::Setup { source };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let builder = match check {
        Check::Full => builder.with_root_certificates(roots),
        Check::Skip => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider()))),
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { path, chain, key }) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|source| TlsError::Identity { path, source })?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts every certificate, for registries that are listed as insecure; the handshake itself is still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use testkit::registry::Authority;

    use super::*;

    #[test]
    fn the_host_names_its_authorities() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (Authority::new().unwrap(), Authority::new().unwrap());
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::io::Write::write_all(
                &mut base::file::create_new(&path, 0o600).unwrap(),
                text.as_bytes(),
            )
            .unwrap();
            path
        };
        let bundle = write("bundle", &format!("# two\n{}{}", one.pem(), two.pem()));
        write(
            "noise",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        let count = |file: Option<&Path>, all: Option<&Path>| {
            let of = |name: &str| match name {
                "SSL_CERT_FILE" => file.map(Path::to_owned),
                _ => all.map(Path::to_owned),
            };
            authorities_of_host(of).len()
        };
        assert_eq!(count(Some(&bundle), None), 2);
        assert_eq!(count(None, Some(directory.path())), 2);
        assert_eq!(count(Some(Path::new("/nonexistent")), None), 0);
    }
}
