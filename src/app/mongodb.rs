//! Wiring of the destination `mongodb`: its options, and the keys of what it writes.
//!
//! Keys come from the configuration, a file, or what a command prints. Neither the keys nor what a command printed is ever
//! part of an error.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::base::keyring::KeyRing;
use crate::base::pseudonym::Pseudonyms;
use crate::base::seal::Seals;
use crate::config::{Config, Keys};
use crate::store::mongodb::MongoError;
use crate::store::{MongoOptions, MongoStore, RawOptions};
use crate::transaction::schema::Schema;

/// How long a command may take to print keys.
const COMMAND_WAIT: Duration = Duration::from_secs(30);
/// The most that a text of keys may have: 16 keys and notes.
const MOST_BYTES: usize = 16 << 10;

/// The destination, its indexes made; a server that is away is tried again with the first batch.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Arc<MongoStore>> {
    let section = &config.mongodb;
    let raw = match section.raw_collection.as_str() {
        "" => None,
        collection => {
            let seals = Seals::new(keys("mongodb.raw_keys", &section.raw).await?);
            Some(RawOptions { collection: collection.to_owned(), seals })
        }
    };
    let schema = Schema::shipped()?;
    let personal = schema.fields().iter().filter(|field| field.personal).map(|field| field.name.to_string());
    let options = MongoOptions {
        url: section.url.0.clone().context("mongodb.url is empty")?,
        database: section.database.clone(),
        collection: section.collection.clone(),
        raw,
        ttl: section.ttl,
        connect_timeout: section.connect_timeout,
        selection_timeout: section.selection_timeout,
        operation_timeout: section.operation_timeout,
        pseudonyms: Pseudonyms::new(keys("mongodb.pseudonym_keys", &section.pseudonyms).await?),
        personal: personal.collect(),
    };
    let store = Arc::new(MongoStore::new(options).context("[mongodb]")?);
    match store.prepare().await {
        Err(error @ MongoError::Unavailable(_)) => {
            tracing::warn!(%error, "MongoDB is away; decisions wait in Kafka until it is back");
        }
        Err(error) => return Err(error).context("MongoDB"),
        Ok(expiry) => tracing::info!(?expiry, "MongoDB is ready"),
    }
    Ok(store)
}

/// The keys that `key` of the configuration, its file or its command holds.
async fn keys(key: &str, keys: &Keys) -> anyhow::Result<KeyRing> {
    if let Some(text) = &keys.text.0 {
        return KeyRing::parse(text.expose()).context(key.to_owned());
    }
    if let Some(path) = &keys.file {
        let text = file(path).with_context(|| format!("{key}_file {}", path.display()))?;
        return KeyRing::parse(&text).with_context(|| format!("{key}_file {}", path.display()));
    }
    let text = printed(&keys.command).await.with_context(|| format!("{key}_command"))?;
    KeyRing::parse(&text).with_context(|| format!("what {key}_command prints"))
}

fn file(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).context("cannot be read")?;
    if text.len() > MOST_BYTES {
        bail!("has {} bytes and may have {MOST_BYTES}", text.len());
    }
    Ok(text)
}

/// What a command of the shell prints. Its errors go to this process's own.
async fn printed(command: &str) -> anyhow::Result<String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_WAIT, shell.output());
    let output = output.await.with_context(|| format!("did not end within {COMMAND_WAIT:?}"))?;
    let output = output.context("could not be started")?;
    if !output.status.success() {
        bail!("ended with {}", output.status);
    }
    if output.stdout.len() > MOST_BYTES {
        bail!("printed {} bytes and may print {MOST_BYTES}", output.stdout.len());
    }
    String::from_utf8(output.stdout).map_err(|_quoting| anyhow::anyhow!("printed what is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::config::Password;

    const KEY: &str = "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn none() -> Keys {
        Keys { text: Password::default(), file: None, command: String::new() }
    }

    #[tokio::test]
    async fn keys_come_from_the_configuration_a_file_or_a_command() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, format!("# in use\n{KEY}\n")).unwrap();
        let given = Keys { text: Password(Some(Secret::new(KEY.to_owned()))), ..none() };
        let kept = Keys { file: Some(path), ..none() };
        let told = Keys { command: format!("printf '%s' {KEY}"), ..none() };
        let expected = KeyRing::parse(KEY).unwrap();
        for one in [given, kept, told] {
            assert_eq!(keys("mongodb.pseudonym_keys", &one).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn what_is_no_key_is_told_by_its_place_and_never_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, &KEY[..60]).unwrap();
        let wrong = [
            (Keys { text: Password(Some(Secret::new(KEY[3..].to_owned()))), ..none() }, "key 1 must be"),
            (Keys { file: Some(path), ..none() }, "key 1 must be"),
            (Keys { file: Some(folder.path().join("nowhere")), ..none() }, "cannot be read"),
            (Keys { command: format!("echo {KEY}; exit 3"), ..none() }, "exit status: 3"),
            (Keys { command: "exec /nowhere/at/all 2>/dev/null".to_owned(), ..none() }, "ended with"),
            (Keys { command: "true".to_owned(), ..none() }, "holds no key"),
            (Keys { command: "head -c 20000 /dev/zero".to_owned(), ..none() }, "may print 16384"),
            (Keys { command: "printf '\\377'".to_owned(), ..none() }, "no text"),
        ];
        for (one, expected) in wrong {
            let told = format!("{:?}", keys("mongodb.pseudonym_keys", &one).await.unwrap_err());
            assert!(told.contains(expected) && !told.contains("0a0b0c"), "{told}");
        }
    }
}
