//! Encryption is what was asked for, or there is no connection.

use std::path::Path;

use assay::engine::delivery::Destination;
use assay::store::PostgresStore;
use assay::store::postgres::{PostgresError, PostgresOptions, Tls};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use crate::place::Place;
use crate::records::decided;
use crate::server::Server;

fn certificate(name: &str, key: &PKey<Private>, issuer: Option<(&X509, &PKey<Private>)>) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&*subject, |(issuer, _)| issuer.subject_name())).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    if issuer.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    } else {
        let names = SubjectAlternativeName::new().dns(name).build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    builder.build()
}

fn key() -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
}

/// Gives the server a certificate for `localhost` and returns that of its authority.
async fn encrypt(server: &Server, place: &Place) -> X509 {
    let (root_key, server_key) = (key(), key());
    let root = certificate("a test's authority", &root_key, None);
    let own = certificate("localhost", &server_key, Some((&root, &root_key)));
    write_as_server(&server.data().join("server.crt"), &own.to_pem().unwrap(), server);
    write_as_server(&server.data().join("server.key"), &server_key.private_key_to_pem_pkcs8().unwrap(), server);
    place.execute("ALTER SYSTEM SET ssl = on").await;
    place.execute("SELECT pg_reload_conf()").await;
    root
}

/// With the owner of the data folder and for its eyes only, as PostgreSQL demands of a key.
fn write_as_server(path: &Path, bytes: &[u8], server: &Server) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let owner = std::fs::metadata(server.data()).unwrap();
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_or_not_at_all() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let place = Place::on(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, stranger_file) = (folder.path().join("ca.pem"), folder.path().join("stranger.pem"));
    let stranger = certificate("a stranger", &key(), None);
    std::fs::write(&stranger_file, stranger.to_pem().unwrap()).unwrap();
    let with = |host: &str, ca_file: Option<&Path>| PostgresOptions {
        host: host.into(),
        port: server.port(),
        tls: Tls::Verify,
        ca_file: ca_file.map(Into::into),
        ..place.options.clone()
    };

    // A server without TLS is refused, not spoken to in the clear.
    let plain = PostgresStore::new(&with("localhost", Some(&stranger_file))).unwrap();
    let error = plain.prepare().await.unwrap_err();
    assert!(matches!(&error, PostgresError::Faults(_)) && error.to_string().contains("TLS"), "{error}");

    let root = encrypt(&server, &place).await;
    std::fs::write(&ca_file, root.to_pem().unwrap()).unwrap();
    let store = PostgresStore::new(&with("localhost", Some(&ca_file))).unwrap();
    let begun = std::time::Instant::now();
    while let Err(error) = store.prepare().await {
        assert!(begun.elapsed().as_secs() < 10, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(store.write(&[decided("a", 0.5)]).await.unwrap().new, 1);
    assert!(store.find("a").await.unwrap().is_some());
    let encrypted = format!(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND usename = '{}'",
        place.role
    );
    assert_eq!(place.count(&encrypted).await, 2);

    for (host, ca_file) in [("127.0.0.1", Some(&*ca_file)), ("localhost", Some(&*stranger_file)), ("localhost", None)] {
        let error = PostgresStore::new(&with(host, ca_file)).unwrap().prepare().await.unwrap_err();
        let told = error.to_string();
        assert!(
            matches!(error, PostgresError::Faults(_)) && told.contains("certificate verify failed"),
            "{host}: {told}"
        );
    }
}
