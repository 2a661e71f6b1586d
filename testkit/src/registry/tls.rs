//! Certificates of an authority that nobody trusts but the test.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::auth::base64;

/// An authority of its own.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority")
    }
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// How a registry speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who it says it is.
    pub identity: Identity,
    /// The authority (PEM) that must have signed the client's certificate, if it wants one.
    pub clients: Option<String>,
}

impl Authority {
    /// Makes an authority.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "a test's authority");
        let pem = pem("CERTIFICATE", params.self_signed(&key)?.der());
        Ok(Self {
            pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Returns the authority's certificate as PEM: the content of a `.crt` file.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate for `names` (host names and addresses).
    pub fn issue(&self, names: &[&str]) -> Result<Identity> {
        self.sign(names, false)
    }

    /// Signs a certificate that expired long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Identity> {
        self.sign(names, true)
    }

    fn sign(&self, names: &[&str], expired: bool) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        if expired {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        Ok(Identity {
            certificate: pem("CERTIFICATE", params.signed_by(&key, &self.issuer)?.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        })
    }
}

impl Tls {
    /// A certificate for 127.0.0.1 and localhost from `authority`, nothing asked of clients.
    pub fn plain(authority: &Authority) -> Result<Self> {
        Ok(Self {
            identity: authority.issue(&["127.0.0.1", "localhost"])?,
            clients: None,
        })
    }

    pub(super) fn server_config(&self) -> Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(
                    CertificateDer::from_pem_slice(authority.as_bytes()).context("the clients' authority")?,
                )?;
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(
            self.identity.certificate.as_bytes(),
        )?];
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes())?;
        Ok(Arc::new(builder.with_single_cert(chain, key)?))
    }
}

/// Returns `der` as PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        text.push_str(&base64(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
