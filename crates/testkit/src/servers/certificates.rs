//! Certificates of a test run, as PEM files, made anew each time.
//!
//! One authority signs the server (for `localhost` and 127.0.0.1) and the client. The files that
//! must be refused are there too: another authority, an expired client.
//!
//! | file | holds |
//! |---|---|
//! | `ca.pem` | the authority |
//! | `server.pem` | key and certificate in one file, as Kafka reads them |
//! | `server.crt`, `server.key` | the same in two files, as PostgreSQL reads them |
//! | `old-server.pem`, `old-server.crt`, `old-server.key` | the same, valid until 2021 only |
//! | `client.pem`, `client.key` | certificate and key of `alice` |
//! | `expired.pem`, `expired.key` | the same, valid until 2021 only |
//! | `future.pem`, `future.key` | the same, valid from 2099 on |
//! | `stranger.pem`, `stranger.key` | `alice` too, but signed by the authority of `other-ca.pem` |
//! | `encrypted.key` | the key of `client.pem`, with the password `opensesame` |
//! | `traditional.key` | the same in the older form, `EC PRIVATE KEY` |
//! | `client.p12` | the same key and a certificate that it signed itself, with that password |
//! | `other-ca.pem` | an authority that signed nothing here |

use std::fs;
use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// Always the same, because nothing here encrypts a key: its other forms are files too.
const CLIENT_KEY: &str = include_str!("keys/client.key");

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Writes all files of the table above into `folder`, which exists.
///
/// # Errors
/// When a file cannot be written.
pub fn write_certificates(folder: &Path) -> anyhow::Result<()> {
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))
    };
    let authority = authority("Tidegauge test authority")?;
    write("ca.pem", &authority.pem())?;
    let other = self::authority("Another authority")?;
    write("other-ca.pem", &other.pem())?;

    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut server = params("localhost", names)?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in ["server", "old-server"] {
        let (certificate, key) = sign(&server, &authority)?;
        write(&format!("{name}.pem"), &format!("{key}{certificate}"))?;
        write(&format!("{name}.crt"), &certificate)?;
        write(&format!("{name}.key"), &key)?;
        server.not_after = date_time_ymd(2021, 1, 1);
    }

    let mut client = params("alice", Vec::new())?;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::from_pem(CLIENT_KEY).context("read the client's key")?;
    let certificate = client.signed_by(&key, &authority).context("sign")?;
    write("client.pem", &certificate.pem())?;
    write("client.key", CLIENT_KEY)?;
    write("encrypted.key", include_str!("keys/encrypted.key"))?;
    write("traditional.key", include_str!("keys/traditional.key"))?;
    let store = folder.join("client.p12");
    fs::write(&store, include_bytes!("keys/client.p12")).context("write client.p12")?;

    let (certificate, key) = sign(&client, &other)?;
    write("stranger.pem", &certificate)?;
    write("stranger.key", &key)?;

    client.not_before = date_time_ymd(2020, 1, 1);
    client.not_after = date_time_ymd(2021, 1, 1);
    let (certificate, key) = sign(&client, &authority)?;
    write("expired.pem", &certificate)?;
    write("expired.key", &key)?;

    client.not_before = date_time_ymd(2099, 1, 1);
    client.not_after = date_time_ymd(2100, 1, 1);
    let (certificate, key) = sign(&client, &authority)?;
    write("future.pem", &certificate)?;
    write("future.key", &key)
}

fn params(name: &str, alternative_names: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(alternative_names).context("name a certificate")?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    Ok(params)
}

fn authority(name: &str) -> anyhow::Result<Authority> {
    let mut params = params(name, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("generate a key")?;
    CertifiedIssuer::self_signed(params, key).context("sign an authority")
}

/// Certificate and PKCS#8 key, both PEM.
fn sign(params: &CertificateParams, authority: &Authority) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate().context("generate a key")?;
    let certificate = params.signed_by(&key, authority).context("sign")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_finds_key_and_certificate_in_one_file() {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path()).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let server = read("server.pem");
        assert!(server.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(server.ends_with(&read("server.crt")));
        assert_ne!(read("ca.pem"), read("other-ca.pem"));
        assert_ne!(read("client.key"), read("expired.key"));
    }
}
