//! Certificates and keys from PEM files.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context, anyhow};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates in a file, at least one.
///
/// # Errors
///
/// It cannot be read, or holds none.
pub(crate) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let wrong = |error: &dyn Display| anyhow!("certificate {}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(&error))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&error))?;
    if certificates.is_empty() {
        return Err(wrong(&"there is none in it"));
    }
    Ok(certificates)
}

/// The authorities in a file, at least one.
///
/// # Errors
///
/// It cannot be read, holds none, or one that is broken.
pub(crate) fn authorities(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let context = || format!("certificate authority {}", path.display());
        roots.add(certificate).with_context(context)?;
    }
    Ok(roots)
}

/// The first private key in a file.
///
/// # Errors
///
/// It cannot be read, or holds none.
pub(crate) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| anyhow!("private key {}: {error}", path.display()))
}
