//! An authority of a test's own.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
}

/// A certificate and its key, as PEM and as files.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) key: String,
    files: [PathBuf; 2],
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("authority.pem"), &pem).unwrap();
        Self { folder, issuer: Issuer::new(parameters, key), pem }
    }

    /// For a host, valid up to the end of a year.
    pub(crate) fn issue(&self, host: &str, year: i32) -> Issued {
        let mut parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2_000, 1, 1);
        parameters.not_after = date_time_ymd(year, 12, 31);
        // Who has the name of the authority would be taken for it.
        parameters.distinguished_name.push(DnType::CommonName, host);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        let files = [("pem", &pem), ("key", &key)].map(|(kind, text)| {
            let file = self.folder.path().join(format!("{host}-{year}.{kind}"));
            fs::write(&file, text).unwrap();
            file
        });
        Issued { pem, key, files }
    }

    /// What a server is told, so that it takes TLS connections on a port.
    pub(crate) fn settings(&self, port: u16, shown: &Issued) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", text(&shown.files[0])),
            ("--tls-key-file", text(&shown.files[1])),
            ("--tls-ca-cert-file", text(&self.folder.path().join("authority.pem"))),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.into(), value]).collect()
    }
}
