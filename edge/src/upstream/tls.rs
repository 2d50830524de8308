//! Trust in https upstreams: rustls on ring, the system's certificates or the operator's own.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, TrustAnchor, pem::PemObject},
};

use crate::error::EdgeError;

/// Whom https upstreams are trusted by, as the files said when it was read.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    pub(super) config: Arc<ClientConfig>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl Trust {
    /// Reads the certificates in `ca`, where it is given, and otherwise the system's.
    pub(super) fn read(ca: Option<&Path>) -> Result<Self, EdgeError> {
        let roots = roots(ca)?;
        let anchors = roots.roots.clone();
        Ok(Self { config: client_config(roots)?, anchors })
    }

    /// Whether it trusts the same authorities, in whichever order they were found.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.anchors.len() == other.anchors.len()
            && self.anchors.iter().all(|anchor| other.anchors.contains(anchor))
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, EdgeError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let failed = |reason: String| EdgeError::CaFile { path: path.display().to_string(), reason };
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("it holds no certificate".into()));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            for certificate in found.certs {
                if let Err(error) = roots.add(certificate) {
                    tracing::debug!(%error, "one of the system's certificates cannot be used");
                }
            }
            if roots.is_empty() {
                let reason = found.errors.first().map_or("there are none".into(), ToString::to_string);
                return Err(EdgeError::Certificates(io::Error::other(reason)));
            }
        }
    }
    Ok(roots)
}

fn client_config(roots: RootCertStore) -> Result<Arc<ClientConfig>, EdgeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| EdgeError::Certificates(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
